"""A bag-of-words classifier: how much of the task needs no transformer at all."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from edgesmith.errors import MeasureError

# Wang and Manning 2012 ("Baselines and Bigrams"): bigrams and a linear model are strong on short texts.
_NGRAMS = (1, 2)
_MAX_ITERATIONS = 1000  # L-BFGS takes 49 on the 67,349 training rows of SST-2


def bag_of_words(
    train_texts: Sequence[str],
    train_labels: Sequence[int],
    test_texts: Sequence[str],
    test_labels: Sequence[int],
) -> float:
    """Test accuracy of TF-IDF over unigrams and bigrams with logistic regression.

    Text pairs are joined to one text by the caller.

    Raises:
        MeasureError: no test row, fewer than two classes or no word in the training rows, or no convergence.
    """
    if not len(test_texts) or len(set(train_labels)) < 2:
        raise MeasureError(
            f"bag of words: {len(test_texts)} test rows and {len(set(train_labels))} classes in the training rows; "
            "expected 1 row or more and 2 classes or more. Check the label column."
        )
    model = make_pipeline(
        TfidfVectorizer(ngram_range=_NGRAMS, sublinear_tf=True), LogisticRegression(max_iter=_MAX_ITERATIONS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(train_texts, train_labels)
        except (ConvergenceWarning, ValueError) as problem:
            raise MeasureError(f"bag of words: {problem}. Check the text column.") from problem
    return float(model.score(test_texts, test_labels))
