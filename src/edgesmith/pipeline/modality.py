"""What the steps do differently for texts and for images; all else in the pipeline is the same for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor

from edgesmith.compress.augment import TextAugmentation
from edgesmith.data import Splits
from edgesmith.data.encoding import EncodedRows
from edgesmith.models import CompactEncoder, save_classifier
from edgesmith.recipe import Recipe, TeachingConfig
from edgesmith.records import EncoderShape, ImagePreprocessing, Structure, TextCoverage, VocabularyCoverage
from edgesmith.runtime import Judge
from edgesmith.runtime.judge import Answers
from edgesmith.search.vocabulary import Vocabulary

Reader = PreTrainedTokenizerBase | BaseImageProcessor


class Modality(ABC):
    """One kind of input, with the rows of a run.

    Attributes:
        student_kind: class of compact encoder.
        has_pairs: every input is two texts.
        trims_losslessly: whether `trim` alone leaves the outputs on training rows as they are.
        vocabulary: which tokens students keep, as in `PruneConfig`; None where inputs are no tokens.
        vocabulary_size: how many these are.
        judge: of the task.
        preprocessing: of images, for the bundle.
    """

    student_kind: ClassVar[type[CompactEncoder]]
    has_pairs: bool = False
    trims_losslessly: bool = True
    preprocessing: ImagePreprocessing | None = None
    vocabulary: Vocabulary | None = None

    def __init__(self, recipe: Recipe, splits: Splits[Any]) -> None:
        self.recipe, self.splits = recipe, splits
        self.judge = Judge.of(recipe.task, recipe.metric)

    @property
    def vocabulary_size(self) -> int:
        return 0

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Longest input in tokens."""

    # ---- rows

    @abstractmethod
    def encode(self, examples: Any) -> EncodedRows:
        """Examples as the teacher reads them."""

    def encode_for_student(self, examples: Any) -> EncodedRows:
        """Examples as a trimmed student reads them."""
        return self.encode(examples)

    @cached_property
    def train_rows(self) -> EncodedRows:
        return self.encode(self.splits.train)

    @cached_property
    def validation_rows(self) -> EncodedRows:
        return self.encode(self.splits.validation)

    @property
    def lesson_rows(self) -> EncodedRows:
        """What students learn from, as the teacher reads it: the training rows and, after them, what has no labels."""
        return self.train_rows

    @property
    def student_lesson_rows(self) -> EncodedRows:
        return self.lesson_rows

    @property
    def student_validation_rows(self) -> EncodedRows:
        return self.validation_rows

    def rows_by_words(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Validation rows, (N,) each: those with a token that only the larger vocabulary keeps, those that lack none."""
        unseen = np.zeros(len(self.splits.validation), bool)
        return unseen, ~unseen

    def keep(self, vocabulary: Vocabulary) -> None:
        """Lets students keep the tokens of another vocabulary."""
        self.vocabulary = vocabulary

    def clusters(self, examples: Any) -> npt.NDArray[np.int64] | None:
        """(N,) the same number for examples that are no independent evidence; None where each stands for itself."""
        return None

    # ---- models

    @abstractmethod
    def reload(self, folder: Path) -> PreTrainedModel:
        """The fine-tuned model that `save` left in a folder."""

    @abstractmethod
    def compact(self, model: PreTrainedModel) -> CompactEncoder:
        """A compact encoder with the model's outputs on this run's inputs."""

    def check_can_trim(self) -> None:  # noqa: B027 - images have nothing to trim
        """Raises an `EdgesmithError` where `trim` cannot do what the recipe says, as far as no row has to be read."""

    def trim(self, model: Any, structure: Structure) -> tuple[Any, list[str]]:
        """The model without the inputs that students do not keep, and what was removed, in words."""
        return model, []

    def augmentation(
        self, config: TeachingConfig, teacher: CompactEncoder, *, trimmed: bool
    ) -> TextAugmentation | None:
        """Changes training batches of a student; None for no change.

        Args:
            trimmed: the student went through `trim`.
        """
        return None

    @property
    @abstractmethod
    def reader(self) -> Reader:
        """Tokenizer or image processor of the teacher."""

    @property
    def student_reader(self) -> Reader:
        """The same of a trimmed student."""
        return self.reader

    def save(self, model: PreTrainedModel, folder: Path, *, trimmed: bool = False) -> None:
        """Writes a model with what reads its inputs."""
        save_classifier(model, self.student_reader if trimmed else self.reader, folder)

    # ---- what the run tells and hands over

    @abstractmethod
    def remarks(self, shape: EncoderShape, parameters: Sequence[int]) -> tuple[str, ...]:
        """Sentences on the teacher.

        Args:
            parameters: of each part that `analyze.count` lists.
        """

    def trim_facts(self) -> dict[str, float]:
        """What trimming left."""
        return {}

    def trim_coverage(self) -> TextCoverage | None:
        """What trimming does to the validation rows; None where nothing is trimmed."""
        return None

    def coverage(
        self, teacher: npt.ArrayLike, artifact: npt.ArrayLike, truth: npt.ArrayLike
    ) -> VocabularyCoverage | None:
        """What trimming does to validation and test rows; None where nothing is trimmed.

        Args:
            teacher, artifact, truth: answers to the test rows, (N,).
        """
        return None

    def bundle_files(self, *, trimmed: bool = True) -> dict[str, str]:
        """Name -> content of the files that read inputs on the device, for a model that went through `trim` or not."""
        return {}

    @abstractmethod
    def answer(self, predictor: Any, examples: Any) -> tuple[Answers, npt.NDArray[np.float32]]:
        """Answers of an open bundle, (N,), and the logits that they were read from, (M, labels)."""

    @abstractmethod
    def linear_baseline(self) -> float:
        """Quality on test rows of a linear model without a transformer."""

    @abstractmethod
    def write_inputs(self, examples: Any, folder: Path) -> list[str]:
        """Writes examples into a folder; returns the arguments with which ``run.py`` reads them."""

    @abstractmethod
    def describe(self, examples: Any) -> dict[str, Sequence[str]]:
        """Columns that tell a reader which row is which."""

    def written(self, answers: Answers) -> Sequence[object]:
        """(N,) answers as ``run.py`` prints them: names of classes, or scores."""
        return (
            list(answers) if self.judge.has_scores else [self.splits.label_names[index] for index in answers]
        )
