"""What is recommended follows from predictions: nothing better meets the latency."""

from __future__ import annotations

import pytest
from fixtures_targets import calibrated

from edgesmith.analyze.recommend import BEST_UTILISATION, recommend
from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.records import VISION_ZOO, ZOO
from edgesmith.targets import load_target

PI = load_target("raspberry-pi-5")


def test_the_best_that_is_likely_comes_first() -> None:
    found = recommend("text-classification", PI, 10)
    assert found.best == found.choices[0]
    likely = [one for one in found.choices if one.latency_ms <= BEST_UTILISATION * 10]
    assert found.best.quality == max(one.quality for one in likely)
    assert {(one.model, one.precision) for one in found.choices} == {
        (model, precision) for model in ZOO for precision in ("fp32", "int8")
    }  # FP16 is executed by the unit, and computed by no runtime here


def test_floors_that_ask_for_too_much_are_unlikely_and_larger_ones_impossible() -> None:
    reasons = {one.latency_ms: one.reasons[0] for one in recommend("text-classification", PI, 10).choices}
    for latency, reason in reasons.items():
        word = "impossible" if latency > 10 else "unlikely" if latency > 7.5 else "possible"
        assert reason.startswith(word), (latency, reason)


def test_the_front_is_what_nothing_dominates() -> None:
    found = recommend("question-answering", PI, 40)
    assert found.metric == "SQuAD F1"
    meeting = [one for one in found.choices if one.meets]
    assert any(one.is_pareto for one in meeting)
    for one in meeting:
        better = [
            other
            for other in meeting
            if (other.latency_ms <= one.latency_ms and other.quality >= one.quality)
            and (other.latency_ms, other.quality) != (one.latency_ms, one.quality)
        ]
        assert one.is_pareto == (not better)
    assert not any(one.is_pareto for one in found.choices if not one.meets)


def test_of_a_calibrated_device_expected_latencies_decide() -> None:
    found = recommend("text-classification", calibrated(), 1e6)
    assert {one.basis for one in found.choices} == {"expected"}
    assert found.best.quality == max(model.published.glue for model in ZOO.values())
    assert found.best.reasons[0].startswith("leaves ")


def test_images_are_ranked_by_published_accuracy_and_unknown_ones_come_behind() -> None:
    found = recommend("image-classification", calibrated(), 1e6)
    assert (found.metric, found.tokens) == ("ImageNet-1K top-1", None)
    known = sorted((one.top1 for one in VISION_ZOO.values() if one.top1 is not None), reverse=True)
    assert [one.quality for one in found.choices[::2]] == [*known, None]
    unknown = [one for one in found.choices if one.quality is None]
    assert {one.model for one in unknown} == {"vit-base"}
    assert not any(one.is_pareto for one in unknown)
    assert all("no published quality to compare" in one.reasons for one in unknown)
    assert all(any(one.source in note for note in found.notes) for one in VISION_ZOO.values())


def test_nothing_is_best_where_nothing_meets_the_latency() -> None:
    found = recommend("text-classification", PI, 1e-3)
    assert found.best is None
    latencies = [one.latency_ms for one in found.choices]
    assert latencies == sorted(latencies)


def test_a_unit_without_figures_recommends_nothing_and_says_so() -> None:
    found = recommend("text-classification", load_target("snapdragon-8-elite"), 10, unit="npu")
    assert found.best is None
    assert {one.reasons for one in found.choices} == {("nothing can be predicted",)}


def test_other_tasks_say_that_glue_stands_in() -> None:
    notes = recommend("token-classification", PI, 10).notes
    assert any("GLUE stands in" in note for note in notes)


@pytest.mark.parametrize(
    ("task", "target", "latency", "error", "text"),
    [
        ("text-clasification", "raspberry-pi-5", 10, RecipeError, "Did you mean 'text-classification'"),
        ("text-classification", "host", 10, UnsupportedError, "targets calibrate"),
        ("text-classification", "raspberry-pi-5", 0, RecipeError, "a number above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(task, target, latency, error, text) -> None:
    with pytest.raises(error, match=text):
        recommend(task, load_target(target), latency)
