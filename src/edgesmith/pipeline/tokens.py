"""Texts whose words have tags: rows are windows, answers are tuples of tags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from edgesmith.data import TextExamples
from edgesmith.data.window_encoding import EncodedTags, encode_tags
from edgesmith.measure.baseline import frequent_tags
from edgesmith.models import CompactBert, CompactBertForTokenClassification, load_token_classifier
from edgesmith.pipeline.text import TextModality
from edgesmith.runtime.judge import Answers
from edgesmith.runtime.tokens import TagPredictor, as_answers, given_words


class TagModality(TextModality):
    """Sentences of words with one space between, each with a tag."""

    student_kind: ClassVar[type[CompactBert]] = CompactBertForTokenClassification

    @property
    def can_join(self) -> bool:
        """Never: the words that count are known by their place."""
        return False

    def _encoded(self, tokenizer: PreTrainedTokenizerBase, examples: TextExamples) -> EncodedTags:
        return encode_tags(tokenizer, examples, self.max_length, self.splits.label_names)

    def reload(self, folder: Path) -> PreTrainedModel:
        return load_token_classifier(str(folder), self.splits.label_names).model

    def answer(
        self, predictor: TagPredictor, examples: TextExamples
    ) -> tuple[Answers, npt.NDArray[np.float32]]:
        found = [predictor.tag(text, given_words(text)) for text in examples.texts]
        logits = [window for _, _, windows in found for window in windows]
        return as_answers([tags for tags, _, _ in found]), np.concatenate(logits)

    def linear_baseline(self) -> float:
        train, test = self.splits.train, self.splits.test
        return frequent_tags(train.texts, train.labels, test.texts, test.labels, judge=self.judge)

    def write_inputs(self, examples: TextExamples, folder: Path) -> list[str]:
        file = folder / "inputs.txt"
        file.write_text("".join(f"{text}\n" for text in examples.texts), encoding="utf-8")
        return ["--words", "--file", str(file)]

    def describe(self, examples: TextExamples) -> dict[str, Sequence[str]]:
        return {"text": examples.texts}

    def written(self, answers: Answers) -> Sequence[object]:
        return [" ".join(tags) for tags in answers]
