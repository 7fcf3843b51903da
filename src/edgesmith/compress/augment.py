"""Augmentation: words of the training texts give way to near words, and the teacher says what the new text means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesmith.data.examples import IGNORED_LABEL
from edgesmith.recipe import TeachingConfig

NEIGHBOURS = 15
"""Candidates for a word, as in TinyBERT (arXiv:1909.10351, appendix A)."""

_ROWS_AT_ONCE = 1024


def nearest_words(table: Tensor, words: Sequence[int]) -> Tensor:
    """Each word's nearest words by the cosine of their rows.

    Args:
        table: (V, H) word table.
        words: the ids that may be replaced, and that may replace.

    Returns:
        (V, K) int64 with K at most `NEIGHBOURS`, nearest first; the rows of all other ids repeat the id itself.
    """
    ids = torch.as_tensor(words, dtype=torch.int64)
    count = min(NEIGHBOURS, len(ids) - 1)
    nearest = torch.arange(len(table))[:, None].repeat(1, max(1, count))
    if count < 1:
        return nearest
    unit = F.normalize(table[ids].detach().float(), dim=-1)
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        cosine = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        rows = torch.arange(len(cosine))
        cosine[rows, start + rows] = -torch.inf  # not itself
        nearest[ids[start + rows]] = ids[cosine.topk(count).indices]
    return nearest


def trimmed_neighbours(nearest: Tensor, kept_ids: Sequence[int]) -> Tensor:
    """The same table for a vocabulary that keeps only some ids, all words of the table among them: (kept, K)."""
    kept = torch.as_tensor(kept_ids)
    new = torch.zeros(len(nearest), dtype=torch.int64)
    new[kept] = torch.arange(len(kept))
    return new[nearest[kept]]


@dataclass(frozen=True)
class WordReplacement:
    """Replaces words of a batch by near ones, anew each time.

    TinyBERT's augmentation (arXiv:1909.10351, algorithm 1) without its language model: all candidates come from the
    word table, no copy of the data is kept, and two passes over a row see two texts. Draws come from torch's global
    generator, which a resumed training restores.

    Attributes:
        nearest: (V, K) candidates of every id of the student, as `nearest_words` gives them.
        teacher_ids: (V,) the teacher's id of every id of the student.
        rows: fraction of the rows that change.
        words: fraction of the words that change in such a row.
    """

    nearest: Tensor
    teacher_ids: Tensor
    rows: float
    words: float

    @staticmethod
    def of(config: TeachingConfig, nearest: Tensor, teacher_ids: Tensor) -> WordReplacement | None:
        """As the configuration says; None where no row is to change."""
        if config.augmented_rows == 0 or config.replaced_words == 0:
            return None
        return WordReplacement(nearest, teacher_ids, config.augmented_rows, config.replaced_words)

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with new `input_ids` and, (B,) bool, `replaced`: the rows that are another text now.

        Those have no label any more, and the teacher reads them token by token as the student does.
        """
        ids = batch["input_ids"]  # (B, S)
        chosen = torch.rand(ids.shape) < self.words
        chosen &= (torch.rand(len(ids)) < self.rows)[:, None]
        candidate = torch.randint(self.nearest.shape[1], ids.shape)
        new = torch.where(chosen, self.nearest[ids, candidate], ids)
        replaced = (new != ids).any(dim=1)
        teacher = torch.where(
            replaced[:, None], self.teacher_ids[new], batch.get("teacher_input_ids", self.teacher_ids[ids])
        )
        changed = {
            "input_ids": new,
            "teacher_input_ids": teacher,
            "labels": batch["labels"].masked_fill(replaced, IGNORED_LABEL),
            "replaced": replaced,
        }
        if "aligned" in batch:
            changed["aligned"] = batch["aligned"].masked_fill(replaced, 1)
        return batch | changed
