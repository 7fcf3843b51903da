import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from edgesmith.data import TextExamples
from edgesmith.errors import MeasureError
from edgesmith.measure import baseline
from edgesmith.measure.baseline import bag_of_words, frequent_tags, linear_pixels, nearest_sentences
from edgesmith.runtime import Judge

SST2 = Path(__file__).parents[2].parent / "shared" / "data" / "glue" / "SST-2"


def test_words_that_decide_are_learned():
    train = ["good film", "bad film", "good plot", "bad plot"] * 5
    assert bag_of_words(train, [1, 0, 1, 0] * 5, ["good cast", "bad cast"], [1, 0]) == 1.0
    assert bag_of_words(train, [1, 0, 1, 0] * 5, ["good cast", "bad cast"], [0, 1]) == 0.0


def test_bigrams_count():
    train, labels = ["not good at all", "good", "bad", "not bad at all"] * 5, [0, 1, 0, 1] * 5
    assert bag_of_words(train, labels, ["not good", "not bad"], [0, 1]) == 1.0


def test_three_classes():
    assert bag_of_words(["a1 x", "b1 x", "c1 x"] * 5, [0, 1, 2] * 5, ["c1", "a1", "b1"], [2, 0, 1]) == 1.0


def test_unrelated_words_give_the_majority():
    train, labels = ["one", "two", "three"], [1, 1, 0]
    assert bag_of_words(train, labels, ["four"] * 4, [1, 1, 0, 1]) == 3 / 4


@pytest.mark.parametrize(
    ("train", "labels", "test", "test_labels", "message"),
    [
        (["a b", "c d"], [1, 1], ["x"], [1], "1 distinct labels in the training rows"),
        (["ab", "cd"], [0, 1], [], [], "0 test rows"),
        (["!", "?"], [0, 1], ["x"], [1], "empty vocabulary"),
        (["ab", "cd"], [0, 1, 1], ["x"], [1], "inconsistent numbers of samples"),
    ],
)
def test_refuses_what_cannot_be_learned(train, labels, test, test_labels, message):
    with pytest.raises(MeasureError, match=message):
        bag_of_words(train, labels, test, test_labels)


def test_a_fit_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(baseline, "_MAX_ITERATIONS", 1)
    with pytest.raises(MeasureError, match="failed to converge"):
        bag_of_words(
            [f"good w{i}" if i % 2 else f"bad w{i}" for i in range(50)],
            [i % 2 for i in range(50)],
            ["x"],
            [1],
        )


@pytest.mark.skipif(not SST2.exists(), reason="SST-2 is not at ../shared/data/glue")
def test_sst2_lies_between_chance_and_a_transformer():
    def rows(split, step):
        with (SST2 / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1::step]
        return [row[0] for row in table], [int(row[1]) for row in table]

    accuracy = bag_of_words(*rows("train", 10), *rows("dev", 1))
    assert 0.70 < accuracy < 0.85


def test_pixels_of_digits_are_told_apart_as_by_hand():
    found = load_digits()
    pixels, labels = found.images.astype(np.uint8), found.target.tolist()
    accuracy = linear_pixels(pixels[:900], labels[:900], pixels[900:1100], labels[900:1100])
    scaler = StandardScaler().fit(found.data[:900])
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(found.data[:900]), labels[:900])
    assert accuracy == pytest.approx(
        model.score(scaler.transform(found.data[900:1100]), labels[900:1100]), abs=0.006
    )


def test_pixels_of_one_class_are_refused():
    with pytest.raises(MeasureError, match="linear pixels: 1 test rows and 1 distinct labels"):
        linear_pixels(np.zeros((2, 2, 2, 1), np.uint8), [0, 0], np.zeros((1, 2, 2, 1), np.uint8), [0])


def test_scores_are_predicted_by_ridge_regression():
    train = ["good film", "bad film", "fair film"] * 10
    scores = [5.0, 0.0, 2.5] * 10
    judge = Judge.of("text-regression", "pearson")
    found = bag_of_words(train, scores, ["good", "fair", "bad"], [5.0, 2.5, 0.0], judge=judge)
    assert found > 0.99


def test_words_have_their_most_frequent_tags():
    judge = Judge.of("token-classification", "tag_accuracy")
    train = ("ada saw ada", "ada ran", "the ada")
    tags = (("B-PER", "O", "B-PER"), ("O", "O"), ("O", "B-ORG"))
    found = frequent_tags(
        train, tags, ("ada saw karen", "the"), (("B-PER", "O", "B-PER"), ("O",)), judge=judge
    )
    assert found == 3 / 4  # karen is unknown, and O the most frequent tag
    with pytest.raises(MeasureError, match="3 training and 0 test rows; expected 1 or more of each"):
        frequent_tags(train, tags, (), (), judge=judge)


def test_the_sentence_with_the_words_of_the_question_answers_it():
    context = "Ada left in 1843. The train was late! Did she see London?"
    rows = TextExamples(
        ("When was the train late?", "Who left?", "Unknown words"),
        (context,) * 3,
        ((("late", 29),), (("Ada", 0),), (("London", 49),)),
    )
    judge = Judge.of("question-answering")
    one, two = (
        2 / (1 + 3),
        2 / (1 + 4),
    )  # "train was late", "ada left in 1843"; the first of equals shares nothing
    assert nearest_sentences(rows, judge=judge) == pytest.approx((one + two + 0) / 3)
    with pytest.raises(MeasureError, match="at least one"):
        nearest_sentences(rows.take([]), judge=judge)
