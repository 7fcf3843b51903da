"""FEED: from a path to labelled rows in three splits that do not leak into each other."""

from edgesmith.data.examples import ImageExamples, Splits, TextExamples
from edgesmith.data.load import load_image_splits, load_labelled, load_labelled_images, load_splits
from edgesmith.data.questions import load_question_splits, load_questions, right_answers
from edgesmith.data.tagged import load_tagged, load_tagged_splits
from edgesmith.data.unlabelled import UnlabelledTexts, load_unlabelled, with_unlabelled

__all__ = [
    "ImageExamples",
    "Splits",
    "TextExamples",
    "UnlabelledTexts",
    "load_image_splits",
    "load_labelled",
    "load_labelled_images",
    "load_question_splits",
    "load_questions",
    "load_splits",
    "load_tagged",
    "load_tagged_splits",
    "load_unlabelled",
    "right_answers",
    "with_unlabelled",
]
