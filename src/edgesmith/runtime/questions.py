"""Answers that are parts of a text: the most probable start and end, over all windows of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.runtime.bundle import Bundle
from edgesmith.runtime.predictor import BundleSession
from edgesmith.runtime.text import load_tokenizer, require_one_each, softmax
from edgesmith.runtime.windows import NOWHERE, Window, WindowEncoder, feeds_of_window

SPAN_LABELS = ("start", "end")
"""What the two logits of a token speak of: an answer that starts at it, and one that ends at it."""

LONGEST_ANSWER = 30
"""Tokens; as in BERT's run_squad.py (max_answer_length)."""


@dataclass(frozen=True)
class FoundAnswer:
    """A part of a context.

    Attributes:
        answer: as it stands there.
        start, end: its first character, and the one past its last.
        probability: of its start times that of its end, in its window.
    """

    answer: str
    start: int
    end: int
    probability: float

    def line(self, *, is_brief: bool) -> str:
        """The answer, white space in it as single spaces; unless `is_brief`, also its place and probability, after tabs."""
        text = " ".join(self.answer.split())
        return text if is_brief else f"{text}\t{self.start}:{self.end}\t{self.probability:.4f}"


def answer_places(window: Window) -> list[int]:
    """The tokens that an answer may start or end at: those of the context, and the first for "it is not in here"."""
    return [0, *(place for place, offset in enumerate(window.offsets) if offset != NOWHERE)]


def find_answer(
    context: str, windows: Sequence[Window], logits: Sequence[npt.NDArray[np.floating[Any]]]
) -> FoundAnswer:
    """The most probable answer of at most `LONGEST_ANSWER` tokens.

    Probabilities are taken within each window, so that one whose first token says "not in here" counts for little.
    BERT's run_squad.py compares sums of logits of different windows instead.

    Args:
        windows: of the context, with one question.
        logits: (S, 2) of each window, as `SPAN_LABELS` has them; what is past its tokens is not read.
    """
    found = [_best_span(window, scores) for window, scores in zip(windows, logits, strict=True)]
    probability, start, end = max(found)
    return FoundAnswer(context[start:end], start, end, probability)


def _best_span(window: Window, logits: npt.NDArray[np.floating[Any]]) -> tuple[float, int, int]:
    """Probability, first character and the one past the last; of a window without context 0 and nothing."""
    places = answer_places(window)
    if len(places) == 1:
        return 0.0, 0, 0
    starts, ends = softmax(logits[places].T)[:, 1:]  # (C,) each, of the context's tokens
    joint = np.triu(np.outer(starts, ends))  # (C, C), no end before its start
    joint -= np.triu(joint, k=LONGEST_ANSWER)
    first, last = np.unravel_index(joint.argmax(), joint.shape)
    start, end = window.offsets[places[1 + first]][0], window.offsets[places[1 + last]][1]
    return float(joint[first, last]), start, end


class QuestionPredictor(BundleSession):
    """Finds answers to questions with a bundle's model, one window at a time."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        super().__init__(bundle, threads=threads)
        self._windows = WindowEncoder(load_tokenizer(bundle.tokenizer_path), bundle.manifest.max_length)

    def predict(self, inputs: Any, pairs: Any = None, batch_size: int = 1) -> list[FoundAnswer]:
        """The answer to each question, in its own context; a single one is a list of one.

        Raises:
            DataError: not as many contexts as questions, one is no string or has no words, or a question is too long.
        """
        questions, contexts = self._windows.many(inputs), self._windows.many(pairs or ())
        require_one_each(questions, contexts)
        return [
            self.find(question, context)[0] for question, context in zip(questions, contexts, strict=True)
        ]

    def find(self, question: str, context: str) -> tuple[FoundAnswer, list[npt.NDArray[np.float32]]]:
        """The answer, and the logits of the context's windows, (S, 2) each."""
        windows = self._windows.question_windows(question, context)
        logits = [self.run(feeds_of_window(window))[0] for window in windows]
        return find_answer(context, windows, logits), logits
