"""The workbench of a run: its recipe, its inputs, and the teacher in the forms that the steps need."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file

from edgesmith.compress.augment import TextAugmentation
from edgesmith.compress.distill import predict_logits
from edgesmith.compress.structure import embedding_energy
from edgesmith.data import Splits
from edgesmith.data.encoding import EncodedRows
from edgesmith.models import CompactEncoder, shape_of
from edgesmith.models.device import use_bf16
from edgesmith.pipeline.modality import Modality
from edgesmith.recipe import CandidateName, Recipe, TeachingConfig
from edgesmith.records import EncoderShape, Progress, Structure
from edgesmith.runtime import TOKENIZER_NAME
from edgesmith.runtime.judge import Answers, Judge
from edgesmith.search.structure import ladder, rank_of_bytes, rank_of_energy

MODEL_FOLDER = "model"
"""In a step's folder: a model that `from_pretrained` opens."""

LOGITS = "logits"
"""The only tensor in a table of the teacher's."""


@dataclass(frozen=True)
class Workbench:
    """What every step works with; forms of the teacher are made once, when first asked for.

    Attributes:
        model: the teacher, with the task's head.
        modality: of its inputs.
        teacher_folder: where it lies, as safetensors.
        teacher_table: file of its logits of the lesson rows; None where they are too large for one.
    """

    recipe: Recipe
    modality: Modality
    model: PreTrainedModel
    teacher_folder: Path
    progress: Progress
    teacher_table: Path | None = None

    @property
    def splits(self) -> Splits[Any]:
        return self.modality.splits

    @property
    def train_rows(self) -> EncodedRows:
        return self.modality.train_rows

    @property
    def validation_rows(self) -> EncodedRows:
        return self.modality.validation_rows

    @property
    def lesson_rows(self) -> EncodedRows:
        return self.modality.lesson_rows

    @property
    def student_lesson_rows(self) -> EncodedRows:
        return self.modality.student_lesson_rows

    @property
    def student_validation_rows(self) -> EncodedRows:
        return self.modality.student_validation_rows

    @cached_property
    def teacher(self) -> CompactEncoder:
        """The teacher as a compact encoder."""
        return self.modality.compact(self.model)

    @cached_property
    def teacher_logits(self) -> Tensor:
        """(N, labels), or (N, S, labels) of tokens, of the lesson rows, in the precision of training."""
        if self.teacher_table is not None:
            return load_file(self.teacher_table)[LOGITS]
        self.progress.say(f"teacher answers {len(self.lesson_rows):,} rows")
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16()):
            return predict_logits(self.teacher, self.lesson_rows)

    @property
    def judge(self) -> Judge:
        """Of the task."""
        return self.modality.judge

    def answers(self, model: PreTrainedModel, rows: EncodedRows) -> Answers:
        """(N,) of a model in PyTorch."""
        return rows.answers(predict_logits(model, rows).numpy(), self.judge)

    def quality(self, answers: Answers, rows: EncodedRows) -> float:
        """Of (N,) answers, by the task's metric."""
        return self.judge.quality(answers, rows.truth)

    @cached_property
    def teacher_validation(self) -> Answers:
        """(N,) the teacher's to the validation rows."""
        return self.answers(self.teacher, self.validation_rows)

    @cached_property
    def teacher_quality(self) -> float:
        """On validation rows."""
        return self.quality(self.teacher_validation, self.validation_rows)

    def lost(self, answers: Answers) -> NDArray[np.float64]:
        """(N,) what each validation row loses by these answers; of classes 1, 0 or, gained, -1."""
        truth = self.validation_rows.truth
        return self.judge.credits(self.teacher_validation, truth) - self.judge.credits(answers, truth)

    @cached_property
    def teacher_shape(self) -> EncoderShape:
        """Of the compact teacher."""
        return replace(shape_of(self.teacher.config), labels=shape_of(self.model.config).labels)

    @property
    def rungs(self) -> dict[str, tuple[Structure, EncoderShape]]:
        """The recipe's candidates under the vocabulary that students keep."""
        return self._ladder(self.recipe.search.candidates)

    def structure(self, name: CandidateName) -> Structure:
        """Of any candidate, whether or not it comes into question."""
        return self._ladder((name,))[name][0]

    def _ladder(self, names: Collection[CandidateName]) -> dict[str, tuple[Structure, EncoderShape]]:
        rare = self.modality.vocabulary == "letters"
        size, rank = self.modality.vocabulary_size, embedding_rank(self.modality, self.teacher)
        return ladder(self.teacher_shape, size, rare_words=rare, rank=rank, names=names)

    def augmentation(self, config: TeachingConfig, *, trimmed: bool) -> TextAugmentation | None:
        """What changes the training batches of a student, with its inputs whole or `trimmed`; None for nothing."""
        return self.modality.augmentation(config, self.teacher, trimmed=trimmed)

    def load_student(self, folder: Path) -> CompactEncoder:
        """The compact encoder that a step left in its folder."""
        model: CompactEncoder = self.modality.student_kind.from_pretrained(folder)
        model.eval()
        return model


def embedding_rank(modality: Modality, teacher: CompactEncoder) -> int | None:
    """What the table of the tokens that students keep is factorised to; None where the recipe leaves it to candidates.

    Raises:
        RecipeError: the table is too large for the smallest rank.
    """
    share, most = modality.recipe.prune.embedding_energy, modality.recipe.prune.embedding_bytes
    if share is not None:
        trimmed, _ = modality.trim(teacher, Structure(depth=len(teacher.layers)))
        return rank_of_energy(embedding_energy(trimmed), share)
    if most is not None:
        return rank_of_bytes(modality.vocabulary_size, teacher.config.hidden_size, most)
    return None


def model_folder(model: str, tokenizer: str | None = None) -> Path:
    """Where a model that was loaded lies: its folder, or for a hub id the one in the hub's cache.

    Args:
        tokenizer: of a model of the zoo, which lies nowhere: the folder is the tokenizer's.
    """
    if tokenizer is None:
        return Path(str(cached_file(model, CONFIG_NAME))).parent
    return (
        Path(tokenizer)
        if Path(tokenizer).is_dir()
        else Path(str(cached_file(tokenizer, TOKENIZER_NAME))).parent
    )
