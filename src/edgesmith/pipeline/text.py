"""Texts, alone or in pairs: tokens, a vocabulary to trim, words to replace."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from edgesmith.compress.augment import TextAugmentation, nearest_words, trimmed_neighbours
from edgesmith.compress.prune import prune_embedding
from edgesmith.compress.structure import fold_token_types, keep_positions
from edgesmith.compress.vocabulary import TrimmedVocabulary, check_can_trim, trim_vocabulary
from edgesmith.data import Splits, TextExamples
from edgesmith.data.encoding import EncodedExamples, encode
from edgesmith.measure.baseline import bag_of_words
from edgesmith.measure.coverage import measure_coverage, text_coverage
from edgesmith.models import (
    CompactBert,
    CompactBertForSequenceClassification,
    CompactEncoder,
    load_classifier,
    to_compact,
)
from edgesmith.models.pieces import Pieces
from edgesmith.pipeline.modality import Modality
from edgesmith.recipe import Recipe, TeachingConfig
from edgesmith.records import EncoderShape, Structure, TextCoverage, VocabularyCoverage
from edgesmith.runtime import TOKENIZER_NAME
from edgesmith.runtime.judge import Answers
from edgesmith.search.vocabulary import VOCABULARIES, Vocabulary


@dataclass(frozen=True)
class TrimmedTexts:
    """The texts of a run as a student reads them.

    Attributes:
        tokenizer: the teacher's.
        trimmed: the student's.
        teacher_lesson_rows: what students learn from, as the teacher reads it.
        max_length: longest input in tokens.
        encoded: examples as a tokenizer reads them.
    """

    tokenizer: PreTrainedTokenizerBase
    trimmed: TrimmedVocabulary
    splits: Splits[TextExamples]
    teacher_lesson_rows: EncodedExamples
    max_length: int
    encoded: Callable[[PreTrainedTokenizerBase, TextExamples], EncodedExamples]

    @cached_property
    def reader(self) -> PreTrainedTokenizerBase:
        settings = {
            name: str(token)
            for name, token in self.tokenizer.special_tokens_map.items()
            if isinstance(token, str)
        }
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(self.trimmed.tokenizer_json),
            model_max_length=self.max_length,
            model_input_names=self._input_names,
            **settings,
        )

    @property
    def _input_names(self) -> list[str]:
        """Pairs need their token types, which models of single texts have folded away."""
        types = [] if self.splits.train.pairs is None else ["token_type_ids"]
        return ["input_ids", *types, "attention_mask"]

    def encode(self, examples: TextExamples) -> EncodedExamples:
        return self.encoded(self.reader, examples)

    @cached_property
    def lesson_rows(self) -> EncodedExamples:
        return replace(self.encode(lessons(self.splits)), teacher_ids=self.teacher_lesson_rows.input_ids)

    @cached_property
    def validation_rows(self) -> EncodedExamples:
        return self.encode(self.splits.validation)

    @cached_property
    def words(self) -> list[int]:
        """Ids, under the teacher's tokenizer, of the kept tokens that are whole words."""
        pieces = Pieces.of(json.loads(self.tokenizer.backend_tokenizer.to_str()))
        tokens = self.tokenizer.convert_ids_to_tokens(list(self.trimmed.kept_ids))
        return [
            word for word, token in zip(self.trimmed.kept_ids, tokens, strict=True) if pieces.is_word(token)
        ]


def compact_texts(model: PreTrainedModel, max_length: int, *, pairs: bool) -> CompactBert:
    """The model's compact form, its positions cut and, for single texts, its token types folded."""
    compact = keep_positions(to_compact(model), max_length)
    return compact if pairs else fold_token_types(compact)


def lessons(splits: Splits[TextExamples]) -> TextExamples:
    """What students learn from: the training rows and, after them, the texts without labels."""
    return splits.train if splits.unlabelled is None else splits.train.followed_by(splits.unlabelled)


class TextModality(Modality):
    """Texts under the teacher's tokenizer, and under the trimmed one of a student.

    Args:
        positions: longest input in tokens that the model can take.
    """

    student_kind: ClassVar[type[CompactBert]] = CompactBertForSequenceClassification
    vocabulary: Vocabulary

    def __init__(
        self, recipe: Recipe, splits: Splits[TextExamples], tokenizer: PreTrainedTokenizerBase, positions: int
    ) -> None:
        super().__init__(recipe, splits)
        self._tokenizer, self._positions = tokenizer, positions
        self._texts: dict[Vocabulary, TrimmedTexts] = {}
        self._neighbours: dict[Vocabulary, Tensor] = {}
        self.vocabulary = "letters" if recipe.prune.vocabulary == "letters" else "texts"
        self.has_pairs = splits.train.pairs is not None
        self.trims_losslessly = recipe.prune.min_token_count == 1 and recipe.prune.vocabulary_size is None

    @property
    def can_join(self) -> bool:
        """Whether two rows make a row that the teacher can label."""
        return not self.has_pairs

    @property
    def max_length(self) -> int:
        """Longest input in tokens: the recipe's, within the model's positions."""
        return min(self.recipe.data.max_length, self._positions)

    def encode(self, examples: TextExamples) -> EncodedExamples:
        return self._encoded(self._tokenizer, examples)

    def _encoded(self, tokenizer: PreTrainedTokenizerBase, examples: TextExamples) -> EncodedExamples:
        return encode(tokenizer, examples, self.max_length)

    def encode_for_student(self, examples: TextExamples) -> EncodedExamples:
        return self._student.encode(examples)

    @cached_property
    def train_rows(self) -> EncodedExamples:
        return self.encode(self.splits.train)

    @cached_property
    def validation_rows(self) -> EncodedExamples:
        return self.encode(self.splits.validation)

    @cached_property
    def lesson_rows(self) -> EncodedExamples:
        return self.train_rows if self.splits.unlabelled is None else self.encode(lessons(self.splits))

    @property
    def student_lesson_rows(self) -> EncodedExamples:
        """With the teacher's ids beside the student's."""
        return self._student.lesson_rows

    @property
    def student_validation_rows(self) -> EncodedExamples:
        return self._student.validation_rows

    @property
    def _student(self) -> TrimmedTexts:
        return self._under(self.vocabulary)

    def _under(self, vocabulary: Vocabulary) -> TrimmedTexts:
        if vocabulary not in self._texts:
            rows = self.lesson_rows
            trimmed = trim_vocabulary(
                self._tokenizer.backend_tokenizer.to_str(),
                chain(rows.input_ids, [rows.rests]),  # a word that is cut is known by all its pieces
                min_count=self.recipe.prune.min_token_count,
                vocab_size=self.recipe.prune.vocabulary_size,
                keep_letters=vocabulary == "letters",
            )
            self._texts[vocabulary] = TrimmedTexts(
                self._tokenizer, trimmed, self.splits, rows, self.max_length, self._encoded
            )
        return self._texts[vocabulary]

    def check_can_trim(self) -> None:
        check_can_trim(self._tokenizer.backend_tokenizer.to_str(), self.recipe.prune.vocabulary_size)

    def rows_by_words(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        texts, letters = (set(self._under(name).trimmed.kept_ids) for name in VOCABULARIES)
        added, ids = letters - texts, self.validation_rows.input_ids
        examples = [
            {token for row in rows for token in ids[row]} for rows in self.validation_rows.rows_of_examples()
        ]
        unseen = [not added.isdisjoint(tokens) for tokens in examples]
        return np.array(unseen), np.array([texts.issuperset(tokens) for tokens in examples])

    @property
    def vocabulary_size(self) -> int:
        return len(self._student.trimmed.kept_ids)

    def reload(self, folder: Path) -> PreTrainedModel:
        return load_classifier(str(folder), self.splits.label_names).model

    def compact(self, model: PreTrainedModel) -> CompactBert:
        return compact_texts(model, self.max_length, pairs=self.has_pairs)

    def trim(self, model: CompactBert, structure: Structure) -> tuple[CompactBert, list[str]]:
        return prune_embedding(model, structure, self._student.trimmed.kept_ids)

    def augmentation(
        self, config: TeachingConfig, teacher: CompactEncoder, *, trimmed: bool
    ) -> TextAugmentation | None:
        """New texts for a student, with the teacher's vocabulary or a `trimmed` one."""
        if self.vocabulary not in self._neighbours:
            table = teacher.get_parameter("embeddings.word.weight")
            self._neighbours[self.vocabulary] = nearest_words(table, self._student.words)
        nearest = self._neighbours[self.vocabulary]
        ids = self._student.trimmed.kept_ids if trimmed else range(len(nearest))
        longest = self.max_length if self.can_join else 0
        return TextAugmentation.of(config, trimmed_neighbours(nearest, ids), torch.as_tensor(ids), longest)

    @property
    def reader(self) -> PreTrainedTokenizerBase:
        return self._tokenizer

    @property
    def student_reader(self) -> PreTrainedTokenizerBase:
        """The trimmed tokenizer."""
        return self._student.reader

    def remarks(self, shape: EncoderShape, parameters: Sequence[int]) -> tuple[str, ...]:
        embedding, total = parameters[0], sum(parameters)
        return (
            f"{total / 1e6:.1f} M parameters; the word embeddings are {embedding / total:.0%} of them",
            f"students keep {self.vocabulary_size:,} of {shape.vocab:,} tokens: those that {VOCABULARIES[self.vocabulary]}",
        )

    def trim_facts(self) -> dict[str, float]:
        return {"vocabulary_coverage": self._student.trimmed.coverage}

    def trim_coverage(self) -> TextCoverage:
        before, after = self.reader.backend_tokenizer, self.student_reader.backend_tokenizer
        return text_coverage(before, after, self.splits.validation)

    def coverage(
        self, teacher: npt.ArrayLike, artifact: npt.ArrayLike, truth: npt.ArrayLike
    ) -> VocabularyCoverage:
        return measure_coverage(
            self.reader.backend_tokenizer,
            self.student_reader.backend_tokenizer,
            self.splits.validation,
            self.splits.test,
            seen={token for ids in self.lesson_rows.input_ids for token in ids},
            teacher=teacher,
            artifact=artifact,
            truth=truth,
            judge=self.judge,
            resamples=self.recipe.validate.resamples,
            seed=self.recipe.seed,
            clusters=self.clusters(self.splits.test),
        )

    def bundle_files(self, *, trimmed: bool = True) -> dict[str, str]:
        whole = self._tokenizer.backend_tokenizer
        return {TOKENIZER_NAME: self._student.trimmed.tokenizer_json if trimmed else whole.to_str()}

    def answer(self, predictor: Any, examples: TextExamples) -> tuple[Answers, npt.NDArray[np.float32]]:
        pairs = None if examples.pairs is None else list(examples.pairs)
        logits = predictor.logits(list(examples.texts), pairs)
        return self.judge.answers(logits), logits

    def linear_baseline(self) -> float:
        train, test = self.splits.train, self.splits.test
        return bag_of_words(_joined(train), train.labels, _joined(test), test.labels, judge=self.judge)

    def write_inputs(self, examples: TextExamples, folder: Path) -> list[str]:
        columns = {"text": examples.texts} | ({"pair": examples.pairs} if examples.pairs else {})
        with open(folder / "inputs.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        pairs = ["--pair-column", "pair"] if examples.pairs else []
        return ["--file", str(folder / "inputs.csv"), "--text-column", "text", *pairs]

    def describe(self, examples: TextExamples) -> dict[str, Sequence[str]]:
        return {"text": examples.texts, "pair": examples.pairs or ("",) * len(examples)}


def _joined(examples: TextExamples) -> list[str]:
    """Both texts of a pair as one."""
    if examples.pairs is None:
        return list(examples.texts)
    return [f"{text} {pair}" for text, pair in zip(examples.texts, examples.pairs, strict=True)]
