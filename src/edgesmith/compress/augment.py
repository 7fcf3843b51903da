"""Augmentation: texts join, words give way to near words, and the teacher says what the new text means."""

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


def join_rows(ids: Tensor, mask: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of a batch followed by another one, as one text between one pair of special tokens.

    Args:
        ids, mask: (B, S) int64, padded on the right; rows begin and end with a special token.
        partners: (B,) the row that follows each row.

    Returns:
        ids and mask of the new rows, (B, S') int64 both.
    """
    lengths = mask.sum(dim=1)
    joined = lengths + lengths[partners] - 2
    place = torch.arange(int(joined.max())).expand(len(ids), -1)
    end = lengths[:, None] - 1  # of the first text; the second comes without its first token
    last = ids.shape[1] - 1
    first = ids.gather(1, place.clamp(max=last))
    second = ids[partners].gather(1, (place - end + 1).clamp(0, last))
    return torch.where(place < end, first, second), (place < joined[:, None]).long()


@dataclass(frozen=True)
class TextAugmentation:
    """Joins the rows of a batch in pairs and replaces words by near ones, anew each time.

    The replacement is TinyBERT's (arXiv:1909.10351, algorithm 1) without its language model: all candidates come from
    the word table, no copy of the data is kept, and two passes over a row see two texts. Joined rows show a student
    longer texts than the training rows are. Draws come from torch's global generator, which a resumed training restores.

    Attributes:
        nearest: (V, K) candidates of every id of the student, as `nearest_words` gives them.
        teacher_ids: (V,) the teacher's id of every id of the student.
        longest: tokens of the longest joined row; a batch with a longer one stays as it is. 0: rows cannot join.
        config: the fractions of batches, rows and words that change.
    """

    nearest: Tensor
    teacher_ids: Tensor
    longest: int
    config: TeachingConfig

    @staticmethod
    def of(
        config: TeachingConfig, nearest: Tensor, teacher_ids: Tensor, longest: int
    ) -> TextAugmentation | None:
        """As the configuration says; None where nothing is to change."""
        replaces = config.augmented_rows > 0 and config.replaced_words > 0
        joins = config.joined_batches > 0 and longest > 0
        return TextAugmentation(nearest, teacher_ids, longest, config) if replaces or joins else None

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The batch with new `input_ids` and, (B,) bool, `changed`: the rows that are another text now.

        Those have no label any more, and the teacher reads them token by token as the student does.
        """
        ids, mask, is_joined = self._joined(batch["input_ids"], batch["attention_mask"])  # (B, S)
        chosen = torch.rand(ids.shape) < self.config.replaced_words
        chosen &= (torch.rand(len(ids)) < self.config.augmented_rows)[:, None]
        candidate = torch.randint(self.nearest.shape[1], ids.shape)
        new = torch.where(chosen, self.nearest[ids, candidate], ids)
        changed = (new != ids).any(dim=1) | is_joined
        teacher = self.teacher_ids[new]
        if "teacher_input_ids" in batch and not is_joined:
            teacher = torch.where(changed[:, None], teacher, batch["teacher_input_ids"])
        labels = batch["labels"].clone()
        labels[changed] = IGNORED_LABEL
        result = batch | {
            "input_ids": new,
            "attention_mask": mask,
            "teacher_input_ids": teacher,
            "labels": labels,
            "changed": changed,
        }
        if "aligned" in batch:
            result["aligned"] = batch["aligned"].masked_fill(changed, 1)
        return result

    def _joined(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Ids and mask of the rows, joined in pairs or as they are, and whether they are joined."""
        if torch.rand(()) < self.config.joined_batches:
            joined, joined_mask = join_rows(ids, mask, torch.randperm(len(ids)))
            if joined.shape[1] <= self.longest:
                return joined, joined_mask, True
        return ids, mask, False
