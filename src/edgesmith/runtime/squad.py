"""How SQuAD compares an answer with the right ones: the rules of its evaluation script for version 1.1.

Source: Rajpurkar et al. 2016 (arXiv:1606.05250), section 6.1, and the data set's evaluate-v1.1.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, one space between words.

    Example:
        >>> normalise("The  U.S. Navy")
        'us navy'
    """
    plain = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", plain).split())


def word_f1(answer: str, truth: str) -> float:
    """F1 of the words that two texts share, each as often as in both; 0 where they share none."""
    ours, theirs = normalise(answer).split(), normalise(truth).split()
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def count_shared(answer: tuple[str, ...], truths: tuple[str, ...]) -> tuple[float, int]:
    """`word_f1` with the nearest of the right answers, and 1 for the question.

    Args:
        answer: one text.
        truths: one or more.
    """
    return max(word_f1(answer[0], truth) for truth in truths), 1


def count_exact(answer: tuple[str, ...], truths: tuple[str, ...]) -> tuple[int, int]:
    """1 where a right answer is the same but for what `normalise` takes away, else 0; and 1 for the question."""
    return int(normalise(answer[0]) in map(normalise, truths)), 1
