"""The workbench of a run: its recipe, its inputs, and the teacher in the forms that the steps need."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME
from transformers.utils.hub import cached_file

from edgesmith.compress.augment import TextAugmentation
from edgesmith.compress.distill import predict_logits
from edgesmith.data import Splits
from edgesmith.data.encoding import EncodedRows
from edgesmith.models import CompactEncoder, shape_of
from edgesmith.models.device import use_bf16
from edgesmith.pipeline.modality import Modality
from edgesmith.recipe import DistillConfig, Recipe
from edgesmith.records import EncoderShape, Progress, Structure
from edgesmith.search.structure import ladder

MODEL_FOLDER = "model"
"""In a step's folder: a model that `from_pretrained` opens."""


@dataclass(frozen=True)
class Workbench:
    """What every step works with; forms of the teacher are made once, when first asked for.

    Attributes:
        model: the teacher, with the task's head.
        modality: of its inputs.
        teacher_folder: where it lies, as safetensors.
    """

    recipe: Recipe
    modality: Modality
    model: PreTrainedModel
    teacher_folder: Path
    progress: Progress

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
    def student_train_rows(self) -> EncodedRows:
        return self.modality.student_train_rows

    @property
    def student_validation_rows(self) -> EncodedRows:
        return self.modality.student_validation_rows

    @cached_property
    def teacher(self) -> CompactEncoder:
        """The teacher as a compact encoder."""
        return self.modality.compact(self.model)

    @cached_property
    def teacher_logits(self) -> Tensor:
        """(N, labels) of the training rows, in the precision of training."""
        self.progress.say(f"teacher answers {len(self.train_rows):,} training rows")
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16()):
            return predict_logits(self.teacher, self.train_rows)

    @cached_property
    def teacher_validation(self) -> Tensor:
        """(N,) labels that the teacher gives the validation rows."""
        return predict_logits(self.teacher, self.validation_rows).argmax(dim=-1)

    @cached_property
    def teacher_accuracy(self) -> float:
        """On validation rows."""
        return accuracy(self.teacher_validation, self.validation_rows)

    def lost(self, predicted: Tensor) -> NDArray[np.int64]:
        """(N,) of validation rows: 1 where the teacher alone is right, -1 where `predicted` (N,) alone is, else 0."""
        labels = torch.tensor(self.validation_rows.labels)
        lost: NDArray[np.int64] = (
            (self.teacher_validation == labels).long() - (predicted == labels).long()
        ).numpy()
        return lost

    @cached_property
    def teacher_shape(self) -> EncoderShape:
        """Of the compact teacher."""
        return replace(shape_of(self.teacher.config), labels=shape_of(self.model.config).labels)

    @property
    def rungs(self) -> dict[str, tuple[Structure, EncoderShape]]:
        """The ladder of candidates under the vocabulary that students keep."""
        rare = self.modality.vocabulary == "letters"
        return ladder(self.teacher_shape, self.modality.vocabulary_size, rare_words=rare)

    def augmentation(self, config: DistillConfig, *, trimmed: bool) -> TextAugmentation | None:
        """What changes the training batches of a student, with its inputs whole or `trimmed`; None for nothing."""
        return self.modality.augmentation(config, self.teacher, trimmed=trimmed)

    def load_student(self, folder: Path) -> CompactEncoder:
        """The compact encoder that a step left in its folder."""
        model: CompactEncoder = self.modality.student_kind.from_pretrained(folder)
        model.eval()
        return model


def accuracy(predicted: Tensor, rows: EncodedRows) -> float:
    """Fraction of rows whose label is `predicted`, (N,)."""
    return float((predicted == torch.tensor(rows.labels)).double().mean())


def model_folder(model: str) -> Path:
    """Where a model that was loaded lies: its folder, or for a hub id the one in the hub's cache."""
    return Path(str(cached_file(model, CONFIG_NAME))).parent
