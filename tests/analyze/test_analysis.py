"""A shape on a device: totals are sums, what is unknown stays unknown, and what makes no sense is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures_targets import CALL_S, NODE_S, calibrated
from transformers import ViTConfig

from edgesmith.analyze.analysis import TEXT_NODES, analyze, ask
from edgesmith.analyze.cost import count, parameters
from edgesmith.analyze.limits import largest
from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.models import shape_of
from edgesmith.records import ZOO, CopyRate
from edgesmith.targets import Unit, load_target

TINY = ZOO["tinybert-4"].shape
PI = load_target("raspberry-pi-5")
NANO = load_target("jetson-orin-nano")


def test_the_layers_add_up_to_the_parts_and_the_total():
    found = analyze(ask(TINY, PI), model="tinybert-4")
    assert [one.name for one in found.layers] == [part.name for part in count(TINY, 128)]
    assert [one.macs for one in found.layers] == [part.macs for part in count(TINY, 128)]
    assert found.macs == sum(one.macs for one in found.layers)
    assert found.parameters == parameters(TINY)
    int8 = next(one for one in found.predictions if one.precision == "int8")
    assert int8.floor.value == pytest.approx(sum(one.floor_ms["int8"] for one in found.layers))
    assert found.label == "predicted"


def test_a_floor_that_computing_limits_is_macs_at_peak():
    found = analyze(ask(TINY, PI, precision="fp32"), model="m")
    (only,) = found.predictions
    assert only.bandwidth_share < 0.05
    compute_ms = found.macs / (4 * 2.4e9 * 8) * 1e3
    assert compute_ms < only.floor.value < 1.05 * compute_ms
    assert only.utilisation.value == pytest.approx(compute_ms / only.floor.value)
    assert only.rate.value == pytest.approx(1e3 / only.floor.value)


def test_one_token_is_limited_by_bandwidth():
    found = analyze(ask(TINY, PI, precision="fp32", length=1), model="m")
    assert found.predictions[0].bandwidth_share > 0.9
    assert {one.bound for one in found.layers if "FFN" in one.name} == {"bandwidth"}


def test_threads_scale_the_peak_and_not_the_bandwidth():
    one, four = (ask(TINY, PI, threads=threads).latency_ms("fp32")[0] for threads in (1, None))
    assert 3.5 < one / four < 4
    one, four = (ask(TINY, PI, threads=threads, length=1).latency_ms("fp32")[0] for threads in (1, None))
    assert one / four < 1.5


def test_every_unit_and_precision_is_predicted_and_one_where_asked():
    found = analyze(ask(TINY, NANO), model="m")
    assert [(one.unit, one.precision) for one in found.predictions] == [
        (unit, precision) for unit in ("cpu", "gpu") for precision in ("fp32", "fp16", "int8")
    ]
    found = analyze(ask(TINY, NANO, unit="gpu", precision="fp16"), model="m")
    assert [(one.unit, one.precision, one.threads) for one in found.predictions] == [("gpu", "fp16", None)]
    assert any("writes no bundle" in note for note in found.notes)


def test_energy_is_the_highest_power_times_the_latency_and_absent_without_a_power():
    one = analyze(ask(TINY, NANO, unit="gpu", precision="int8"), model="m").predictions[0]
    assert one.energy.value == pytest.approx(15 * one.floor.value)
    assert one.energy.unit == "mJ"
    found = analyze(ask(TINY, load_target("raspberry-pi-zero-2-w")), model="m")
    assert {each.energy for each in found.predictions} == {None}
    assert any("no energy is predicted" in note for note in found.notes)


def test_peak_memory_is_weights_and_the_most_activations_at_once():
    found = analyze(ask(TINY, PI, precision="fp32"), model="m")
    heads, tokens, hidden, neurons = 12, 128, 312, 1200
    scores = 4 * (2 * heads * tokens * tokens + 2 * tokens * hidden)
    ffn = 4 * (2 * tokens * neurons + tokens * hidden)
    assert max(step.live_bytes for step in found.timeline) == max(scores, ffn)
    weights = 4 * parameters(TINY)
    assert found.predictions[0].peak_memory.value == weights + max(scores, ffn)


def test_what_a_profile_does_not_state_is_not_predicted_and_says_so():
    elite = analyze(ask(TINY, load_target("snapdragon-8-elite"), unit="npu"), model="m")
    assert {one.floor for one in elite.predictions} == {None}
    assert all("neither peak nor bandwidth" in one.notes[0] for one in elite.predictions)
    m2 = analyze(ask(TINY, load_target("apple-m2"), unit="cpu", precision="fp32"), model="m")
    assert "bandwidth alone" in m2.predictions[0].notes[0]
    assert m2.predictions[0].utilisation is None
    host = analyze(ask(TINY, replace(load_target("generic-x86"), units={"cpu": Unit(kind="cpu")})), model="m")
    assert host.predictions == ()
    assert "counts only" in host.notes[0]


def test_a_calibrated_profile_gives_an_expected_latency_beside_the_floor():
    found = analyze(ask(TINY, calibrated(), length=16), model="m")
    for one in found.predictions:
        assert one.expected.value > one.floor.value
        assert one.latency is one.expected
        body = sum(layer.expected_ms[one.precision] for layer in found.layers)
        assert one.expected.value == pytest.approx(body + 1e3 * (CALL_S + TEXT_NODES * NODE_S))
    assert {"fp32", "int8"} == {one.precision for one in found.predictions}
    with pytest.raises(RecipeError, match="measured on 'mine': 1"):
        ask(TINY, calibrated(), threads=2)


def test_no_operator_is_expected_to_be_faster_than_its_floor():
    target = calibrated()
    rates = replace(target.unit().rates, copies=(CopyRate(threads=1, bytes_per_s=1e3),))
    slow = replace(target, units={"cpu": replace(target.unit(), rates=rates)})
    for one in analyze(ask(TINY, slow, length=16), model="m").predictions:
        overhead_ms = 1e3 * (CALL_S + TEXT_NODES * NODE_S)
        assert one.expected.value - overhead_ms >= one.floor.value > 1e6


def test_the_longest_text_that_meets_a_deadline_is_the_last_that_does():
    for deadline_ms in (1.0, 5.0, 20.0):
        found = analyze(ask(TINY, PI, precision="int8"), model="m", deadline_ms=deadline_ms)
        (limit,) = found.deadlines
        assert limit.unit_of_size == "tokens"
        assert ask(TINY, PI, length=limit.largest).latency_ms("int8")[0] <= deadline_ms
        if limit.is_most:
            assert limit.largest == 512
        else:
            assert ask(TINY, PI, length=limit.largest + 1).latency_ms("int8")[0] > deadline_ms
        latency = found.predictions[0].floor.value
        assert limit.meets == (latency <= deadline_ms)
        assert limit.rate == (pytest.approx(1e3 / latency) if limit.meets else None)


def test_an_impossible_deadline_has_no_length():
    (limit,) = analyze(ask(TINY, PI, precision="int8"), model="m", deadline_ms=1e-3).deadlines
    assert (limit.largest, limit.meets, limit.rate) == (None, False, None)


def test_the_largest_image_that_meets_a_deadline():
    shape = shape_of(ViTConfig())
    found = analyze(ask(shape, PI, precision="int8"), model="vit", deadline_ms=100)
    (limit,) = found.deadlines
    assert (found.tokens, found.image_pixels, limit.unit_of_size) == (197, 224, "pixels")
    assert limit.largest % 16 == 0
    assert limit.meets == (limit.largest >= 224)
    with pytest.raises(RecipeError, match="reads images, whose length is 197"):
        ask(shape, PI, length=10)


@pytest.mark.parametrize(("most", "limit", "expected"), [(10, 7, 7), (10, 99, 10), (10, 0, None), (1, 1, 1)])
def test_largest_finds_the_last_that_meets(most, limit, expected):
    assert largest(lambda size: size <= limit, most) == expected


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({"length": 0}, RecipeError, "allowed: 1 to 512"),
        ({"length": 513}, RecipeError, "allowed: 1 to 512"),
        ({"threads": 5}, RecipeError, "has 4 cores"),
        ({"unit": "gpu"}, RecipeError, "unknown unit 'gpu'"),
        ({"precision": "int4"}, UnsupportedError, "does not execute int4; it executes fp32, fp16, int8"),
        ({"precision": "int9"}, RecipeError, "Did you mean 'int8'"),
    ],
)
def test_a_question_without_sense_is_refused(asked, error, text):
    with pytest.raises(error, match=text):
        ask(TINY, PI, **asked)
