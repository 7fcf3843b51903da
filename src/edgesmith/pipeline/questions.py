"""Questions with contexts: rows are windows, answers are parts of a context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from edgesmith.data import TextExamples
from edgesmith.data.span_encoding import EncodedSpans, encode_questions
from edgesmith.measure.baseline import nearest_sentences
from edgesmith.models import CompactBert, CompactBertForTokenClassification, load_span_finder
from edgesmith.pipeline.text import TextModality
from edgesmith.runtime.judge import Answers
from edgesmith.runtime.questions import QuestionPredictor
from edgesmith.runtime.tokens import as_answers


class QuestionModality(TextModality):
    """Questions, each paired with the context that holds its answer."""

    student_kind: ClassVar[type[CompactBert]] = CompactBertForTokenClassification

    def _encoded(self, tokenizer: PreTrainedTokenizerBase, examples: TextExamples) -> EncodedSpans:
        return encode_questions(tokenizer, examples, self.max_length)

    def clusters(self, examples: TextExamples) -> npt.NDArray[np.int64]:
        """Questions on one context."""
        return np.unique(np.array(examples.pairs), return_inverse=True)[1]

    def reload(self, folder: Path) -> PreTrainedModel:
        return load_span_finder(str(folder)).model

    def answer(
        self, predictor: QuestionPredictor, examples: TextExamples
    ) -> tuple[Answers, npt.NDArray[np.float32]]:
        pairs = zip(examples.texts, examples.pairs or (), strict=True)
        found = [predictor.find(question, context) for question, context in pairs]
        logits = [window for _, windows in found for window in windows]
        return as_answers([(one.answer,) for one, _ in found]), np.concatenate(logits)

    def linear_baseline(self) -> float:
        return nearest_sentences(self.splits.test, judge=self.judge)

    def written(self, answers: Answers) -> Sequence[object]:
        """As ``run.py`` prints them, several right ones with a bar between them."""
        return [" | ".join(" ".join(text.split()) for text in texts) for texts in answers]
