"""FEED: from a path to labelled rows in three splits that do not leak into each other."""

from edgesmith.data.examples import Splits, TextExamples
from edgesmith.data.load import load_labelled, load_splits

__all__ = ["Splits", "TextExamples", "load_labelled", "load_splits"]
