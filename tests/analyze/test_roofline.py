"""A floor is the longer of computing and reading; an expected time follows measured rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures_targets import OTHER_PER_S, SPEEDS, formula_rates

from edgesmith.analyze.operators import Operator, attention, linear, norm
from edgesmith.analyze.roofline import (
    Ceiling,
    activation_bytes,
    ceiling,
    expected_s,
    floor_s,
    rate_at,
    traffic_bytes,
)
from edgesmith.targets import load_target

LIMITS = Ceiling(
    precision="fp32",
    macs_per_s=1e9,
    bytes_per_s=1e8,
    cache_bytes=1000,
    activation_bytes=4,
    keeps_weights=False,
)
LINEAR = linear("l", "p", rows=1, inner=100, outer=100)


def test_many_rows_are_bound_by_computing_and_one_by_bandwidth() -> None:
    weights = 4 * (100 * 100 + 100)
    assert traffic_bytes(LINEAR, LIMITS) == weights
    assert floor_s(LINEAR, LIMITS) == (weights / 1e8, "bandwidth")
    many = linear("l", "p", rows=1000, inner=100, outer=100)
    assert floor_s(many, replace(LIMITS, cache_bytes=None)) == (1000 * 100 * 100 / 1e9, "compute")


def test_activations_count_where_no_cache_holds_them() -> None:
    activations = 4 * (10 * 100 + 10 * 100)
    ten = linear("l", "p", rows=10, inner=100, outer=100)
    weights = ten.read_bytes("fp32")
    assert traffic_bytes(ten, replace(LIMITS, cache_bytes=activations)) == weights
    assert traffic_bytes(ten, replace(LIMITS, cache_bytes=activations - 1)) == weights + activations
    assert traffic_bytes(ten, replace(LIMITS, cache_bytes=activations, keeps_weights=True)) == 0


def test_what_multiplies_nothing_and_stays_in_the_cache_takes_no_time() -> None:
    one = norm("p", 1, 10)
    assert floor_s(one, replace(LIMITS, keeps_weights=True)) == (0.0, "cache")


def test_a_limit_that_is_not_known_limits_nothing() -> None:
    assert floor_s(LINEAR, replace(LIMITS, bytes_per_s=None)) == (100 * 100 / 1e9, "unknown")
    assert floor_s(LINEAR, replace(LIMITS, macs_per_s=None)) == (
        traffic_bytes(LINEAR, LIMITS) / 1e8,
        "unknown",
    )
    assert replace(LIMITS, macs_per_s=None, bytes_per_s=None).is_empty


def test_the_limits_are_those_of_the_profile() -> None:
    pi = load_target("raspberry-pi-5")
    found = ceiling([LINEAR], pi, "cpu", "int8", 1)
    assert found.macs_per_s == pi.unit().peak("int8", 1) == 2.4e9 * 32
    assert (found.bytes_per_s, found.cache_bytes) == (pi.memory_bandwidth_bytes_s, 2 * 2**20)
    assert found.keeps_weights
    large = linear("l", "p", rows=1, inner=4000, outer=4000)
    assert not ceiling([large], pi, "cpu", "int8", 1).keeps_weights


def test_a_cpu_keeps_activations_in_fp32_where_weights_are_integers() -> None:
    assert activation_bytes("int8", "cpu") == 4
    assert activation_bytes("int8", "npu") == 1
    assert activation_bytes("fp16", "cpu") == activation_bytes("fp16", "gpu") == 2


def test_a_rate_between_measured_ones_lies_on_their_line() -> None:
    kernels = formula_rates().of("linear", "fp32", 1)
    for rows, width in ((1, 64), (4, 128), (16, 256), (3, 200)):
        assert rate_at(kernels, rows, width) == pytest.approx(
            1e6 * rows * width
        )  # a product is a plane in logarithms
    assert rate_at(kernels, 100, 64) == pytest.approx(1e6 * 16 * 64)  # outside: the edge


def test_expected_times_follow_the_kind_and_the_precision() -> None:
    one = linear("l", "p", rows=16, inner=64, outer=64)
    assert expected_s(one, formula_rates(), "fp32", 1) == pytest.approx(one.macs / (SPEEDS["fp32"] * 16 * 64))
    assert expected_s(one, formula_rates(), "int8", 1) == pytest.approx(one.macs / (SPEEDS["int8"] * 16 * 64))
    scores, softmax, values = attention("p", tokens=16, heads=2, head_dim=8, held=0)
    assert expected_s(scores, formula_rates(), "int8", 1) == pytest.approx(2 * 16 * 16 * 8 / OTHER_PER_S)
    assert expected_s(values, formula_rates(), "int8", 1) == expected_s(scores, formula_rates(), "int8", 1)
    assert expected_s(softmax, formula_rates(), "int8", 1) == 0  # the rate of the products has it


def test_an_operator_without_weights_reads_none() -> None:
    one = Operator(name="o", part="p", kind="activation", read=5, written=5)
    assert traffic_bytes(one, LIMITS) == 0
