"""Linear models of words or pixels, word lists, and shared words: how much of the task needs no transformer at all."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from edgesmith.data import TextExamples, right_answers
from edgesmith.errors import MeasureError
from edgesmith.runtime.judge import ACCURACY, Judge
from edgesmith.runtime.squad import normalise
from edgesmith.runtime.tokens import as_answers

# Wang and Manning 2012 ("Baselines and Bigrams"): bigrams and a linear model are strong on short texts.
_NGRAMS = (1, 2)
_MAX_ITERATIONS = 1000  # L-BFGS takes 49 on the 67,349 training rows of SST-2


def bag_of_words(
    train_texts: Sequence[str],
    train_labels: Sequence[float],
    test_texts: Sequence[str],
    test_labels: Sequence[float],
    *,
    judge: Judge = ACCURACY,
) -> float:
    """Quality on test rows of TF-IDF over unigrams and bigrams with logistic regression, or ridge regression of scores.

    Text pairs are joined to one text by the caller.

    Raises:
        MeasureError: no test row, fewer than two classes or no word in the training rows, or no convergence.
    """
    linear = Ridge() if judge.has_scores else LogisticRegression(max_iter=_MAX_ITERATIONS)
    model = make_pipeline(TfidfVectorizer(ngram_range=_NGRAMS, sublinear_tf=True), linear)
    return _quality(model, "bag of words", (train_texts, train_labels), (test_texts, test_labels), judge)


def linear_pixels(
    train_pixels: NDArray[np.uint8],
    train_labels: Sequence[float],
    test_pixels: NDArray[np.uint8],
    test_labels: Sequence[float],
    *,
    judge: Judge = ACCURACY,
) -> float:
    """Quality on test rows of logistic regression on pixels.

    Args:
        train_pixels, test_pixels: (N, ...) of small images.

    Raises:
        MeasureError: no test row, or fewer than two classes in the training rows; or no convergence.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MAX_ITERATIONS))
    train, test = (
        pixels.reshape(len(pixels), -1).astype(np.float32) for pixels in (train_pixels, test_pixels)
    )
    return _quality(model, "linear pixels", (train, train_labels), (test, test_labels), judge)


def frequent_tags(
    train_texts: Sequence[str],
    train_tags: Sequence[Sequence[str]],
    test_texts: Sequence[str],
    test_tags: Sequence[Sequence[str]],
    *,
    judge: Judge,
) -> float:
    """Quality on test rows of the tag that each word has most often in the training rows, and else the most frequent one.

    Near to the baseline of CoNLL-2003 (Tjong Kim Sang and De Meulder 2003, section 3.2), which looks up whole entities.

    Args:
        train_texts, test_texts: words with one space between them.
        train_tags, test_tags: one for each word.

    Raises:
        MeasureError: no training or no test row.
    """
    if not train_texts or not test_texts:
        raise MeasureError(
            f"frequent tags: {len(train_texts)} training and {len(test_texts)} test rows; expected 1 or more of each."
        )
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, tags in zip(train_texts, train_tags, strict=True):
        for word, tag in zip(text.split(" "), tags, strict=True):
            counts[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    other = Counter(tag for tags in train_tags for tag in tags).most_common(1)[0][0]
    answers = [tuple(best.get(word, other) for word in text.split(" ")) for text in test_texts]
    return judge.quality(as_answers(answers), as_answers(test_tags))


def nearest_sentences(questions: TextExamples, *, judge: Judge) -> float:
    """Quality of answering with the context's sentence that has the most words of the question, the first of equals.

    Near to the sliding window of Richardson et al. 2013 that SQuAD's paper starts from (arXiv:1606.05250, section 5.1).

    Raises:
        MeasureError: no question.
    """
    pairs = zip(questions.texts, questions.pairs or (), strict=True)
    answers = [(_nearest_sentence(set(normalise(question).split()), context),) for question, context in pairs]
    return judge.quality(as_answers(answers), right_answers(questions))


def _nearest_sentence(wanted: set[str], context: str) -> str:
    """Of a context, the one with the most of the wanted words."""

    def shared(sentence: str) -> int:
        return len(wanted.intersection(normalise(sentence).split()))

    return max(re.split(r"(?<=[.!?])\s+", context), key=shared)


def _quality(
    model: Pipeline, name: str, train: tuple[Any, Any], test: tuple[Any, Any], judge: Judge
) -> float:
    """Of a model after training, on test rows; both are inputs and labels."""
    (inputs, labels), (test_inputs, test_labels) = train, test
    if not len(test_labels) or len(set(labels)) < 2:
        raise MeasureError(
            f"{name}: {len(test_labels)} test rows and {len(set(labels))} distinct labels in the training rows; "
            "expected 1 row or more and 2 labels or more. Check the label column."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(inputs, labels)
        except (ConvergenceWarning, ValueError) as problem:
            raise MeasureError(f"{name}: {problem}. Check the input column.") from problem
    return judge.quality(model.predict(test_inputs), np.asarray(test_labels))
