"""Questions and contexts of any length as rows of windows, the same that a bundle cuts them into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from edgesmith.data.encoding import PLACES, Row, pad_rows
from edgesmith.data.examples import TextExamples
from edgesmith.data.questions import right_answers
from edgesmith.data.window_encoding import EncodedWindows
from edgesmith.runtime.judge import Answers, Judge
from edgesmith.runtime.questions import SPAN_LABELS, answer_places, find_answer
from edgesmith.runtime.tokens import as_answers
from edgesmith.runtime.windows import Span, Window, WindowEncoder


@dataclass(frozen=True, kw_only=True)
class EncodedSpans(EncodedWindows):
    """Windows of questions with their contexts; labels are the first and the last token of the answer."""

    def __getitem__(self, index: int) -> Row:
        places = [0] * len(self.input_ids[index])
        for place in answer_places(self.windows[index]):
            places[place] = 1
        return super().__getitem__(index) | {PLACES: places}

    @property
    def truth(self) -> Answers:
        return right_answers(self.examples)

    def answers(self, logits: NDArray[np.float32], judge: Judge) -> Answers:
        """(N,) tuples of the one answer to each question.

        Args:
            logits: (rows, S, 2).
        """
        contexts = self.examples.pairs or ()
        found = [
            find_answer(context, [self.windows[row] for row in rows], [logits[row] for row in rows])
            for context, rows in zip(contexts, self.rows_of_examples(), strict=True)
        ]
        return as_answers([(one.answer,) for one in found])

    def _collate_labels(self, rows: Sequence[Row], width: int) -> dict[str, Tensor]:
        """``labels`` (B, 2) int64 and ``places`` (B, S) bool."""
        places = pad_rows([row[PLACES] for row in rows], width, 0).bool()
        return super()._collate_labels(rows, width) | {PLACES: places}


def encode_questions(
    tokenizer: PreTrainedTokenizerBase, examples: TextExamples, max_length: int
) -> EncodedSpans:
    """Cuts contexts into windows; where there are several right answers, a window is labelled with the first."""
    encoder = _encoder(tokenizer, max_length)
    windows: list[Window] = []
    labels: list[tuple[int, int]] = []
    owners: list[int] = []
    rows = zip(examples.texts, examples.pairs or (), examples.labels, strict=True)
    for owner, (question, context, answers) in enumerate(rows):
        text, start = answers[0]
        for window in encoder.question_windows(question, context):
            windows.append(window)
            labels.append(tokens_of(window, (start, start + len(text))))
            owners.append(owner)
    return EncodedSpans(
        input_ids=[window.ids for window in windows],
        labels=labels,
        token_type_ids=[window.types for window in windows],
        pad_token_id=tokenizer.pad_token_id,
        windows=windows,
        owners=owners,
        examples=examples,
        label_names=SPAN_LABELS,
    )


def check_questions_fit(tokenizer: PreTrainedTokenizerBase, examples: TextExamples, max_length: int) -> None:
    """Raises `DataError` for a question that leaves no room in a window: before hours of training, not after."""
    encoder = _encoder(tokenizer, max_length)
    for question in examples.texts:
        encoder.room_beside(question)


def _encoder(tokenizer: PreTrainedTokenizerBase, max_length: int) -> WindowEncoder:
    return WindowEncoder(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), max_length)


def tokens_of(window: Window, span: Span) -> tuple[int, int]:
    """The first and the last token that stand in a part of the context; 0 twice where the window lacks some of it.

    The first token of a window, [CLS], is no part of the context (BERT's run_squad.py labels such windows so too).
    """
    _, *places = answer_places(window)
    inside = [
        place for place in places if window.offsets[place][0] < span[1] and window.offsets[place][1] > span[0]
    ]
    if not inside or window.offsets[places[0]][0] > span[0] or window.offsets[places[-1]][1] < span[1]:
        return 0, 0
    return inside[0], inside[-1]
