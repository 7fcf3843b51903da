"""Answers that are made of logits for each token: a tag for each word of a text, and the entities of these tags."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesmith.runtime.bundle import Bundle
from edgesmith.runtime.entities import OUTSIDE, entities
from edgesmith.runtime.predictor import BundleSession
from edgesmith.runtime.text import load_tokenizer, softmax
from edgesmith.runtime.windows import Span, Window, WindowEncoder, feeds_of_window, first_pieces

Logits = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class FoundEntity:
    """An entity of a text.

    Attributes:
        label: its type.
        text: as it stands there.
        start, end: its first character, and the one past its last.
        probability: mean over its words of the probability of their tags.
    """

    label: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class Entities:
    """Those of one text, in order."""

    entities: tuple[FoundEntity, ...]

    def line(self, *, is_brief: bool) -> str:
        """Type, place and text of each, with tabs between them; empty where there is none."""
        return "\t".join(f"{found.label} {found.start}:{found.end} {found.text}" for found in self.entities)


@dataclass(frozen=True)
class Tags:
    """One for each word of a text."""

    tags: tuple[str, ...]

    def line(self, *, is_brief: bool) -> str:
        """With spaces between them, as the words have."""
        return " ".join(self.tags)


def as_answers(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Answers that are no numbers as an array of objects, (N,)."""
    answers = np.empty(len(values), object)
    for place, value in enumerate(values):
        answers[place] = value
    return answers


def given_words(text: str) -> list[Span]:
    """Places of words that have one space between them."""
    spans, start = [], 0
    for word in text.split(" "):
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return [span for span in spans if span[0] < span[1]]


def split_words(text: str) -> list[Span]:
    """Places of the words of running text: between white space, and each mark at their ends a word of its own.

    That is near to the words of the CoNLL data sets, which split ``Obama,`` and leave ``12.5`` and ``e-mail`` whole.
    """
    spans: list[Span] = []
    for start, end in given_words("".join(" " if sign.isspace() else sign for sign in text)):
        letters = [place for place in range(start, end) if not _is_mark(text[place])]
        first, last = (letters[0], letters[-1] + 1) if letters else (end, end)
        spans += [(place, place + 1) for place in range(start, first)]
        spans += [(first, last)] if letters else []
        spans += [(place, place + 1) for place in range(last, end)]
    return spans


def _is_mark(sign: str) -> bool:
    """Whether a character is punctuation or a symbol."""
    return unicodedata.category(sign)[0] in "PS"


def tag_words(
    windows: Sequence[Window], logits: Sequence[Logits], words: Sequence[Span], labels: Sequence[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """The tag of each word by its first piece, in the window where it is farthest from the ends.

    The farthest from the ends has the most context (BERT's run_squad.py, ``_check_is_max_context``). A word of which the
    tokenizer leaves nothing is outside of any entity.

    Args:
        windows: of one text.
        logits: (S, labels) of each window; what is past its tokens is not read.
        words: their places, in order.
        labels: of the tags, by index.

    Returns:
        The tags, and (words,) their probabilities.
    """
    best: dict[int, tuple[int, Logits]] = {}
    for window, row, scores in zip(windows, first_pieces(windows, words), logits, strict=True):
        for place, word in enumerate(row):
            context = min(place, len(window.ids) - 1 - place)
            if word >= 0 and (word not in best or context > best[word][0]):
                best[word] = context, scores[place]
    tags, probabilities = [OUTSIDE] * len(words), np.ones(len(words))
    for word, (_, scores) in best.items():
        index = int(scores.argmax())
        tags[word], probabilities[word] = labels[index], softmax(scores)[index]
    return tuple(tags), probabilities


def find_entities(
    text: str, words: Sequence[Span], tags: Sequence[str], probabilities: npt.NDArray[np.float64]
) -> Entities:
    """The entities of a text whose words are tagged."""
    found = []
    for label, first, last in entities(tags):
        start, end = words[first][0], words[last][1]
        mean = float(probabilities[first : last + 1].mean())
        found.append(FoundEntity(label, text[start:end], start, end, mean))
    return Entities(tuple(found))


class TagPredictor(BundleSession):
    """Finds the entities of texts with a bundle's model, one window at a time.

    Args:
        has_words: texts are words with one space between them, and are answered by their tags.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, has_words: bool = False) -> None:
        super().__init__(bundle, threads=threads)
        tokenizer = load_tokenizer(bundle.tokenizer_path)
        self._windows, self._has_words = WindowEncoder(tokenizer, bundle.manifest.max_length), has_words

    def predict(self, inputs: Any, pairs: Any = None, batch_size: int = 1) -> list[Any]:
        """`Entities` of each text, or its `Tags`; a single one is a list of one.

        Raises:
            DataError: a text is no string.
        """
        return [self._answer(text) for text in self._windows.many(inputs)]

    def _answer(self, text: str) -> Entities | Tags:
        words = given_words(text) if self._has_words else split_words(text)
        tags, probabilities, _ = self.tag(text, words)
        return Tags(tags) if self._has_words else find_entities(text, words, tags, probabilities)

    def tag(
        self, text: str, words: Sequence[Span]
    ) -> tuple[tuple[str, ...], npt.NDArray[np.float64], list[Logits]]:
        """Tags and probabilities of a text's words, as `tag_words`, and the logits of its windows, (S, labels) each."""
        windows = self._windows.windows(text)
        logits: list[Logits] = [self.run(feeds_of_window(window))[0] for window in windows]
        return *tag_words(windows, logits, words, self.bundle.manifest.labels), logits
