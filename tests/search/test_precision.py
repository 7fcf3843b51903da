from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from edgesmith.records import Scheme
from edgesmith.search.precision import (
    REPAIRS,
    Choice,
    Latency,
    Limits,
    assign_precision,
    least_divergence,
    try_plans,
    verify_precision,
)


def options_of(int8, sizes=None, int4=None):
    """FP16, INT8 and, where given, INT4 for each layer, from its divergences and its FP16 bytes."""
    options = {}
    for layer, divergence in int8.items():
        size = (sizes or {}).get(layer, 100)
        options[layer] = [Choice(Scheme("fp16"), size, 0.0), Choice(Scheme("int8"), size // 2, divergence)]
        if int4:
            options[layer].append(Choice(Scheme("int4"), size // 4, int4[layer]))
    return options


def least(options, budget, cost) -> float:
    """Cost of the best of all combinations."""
    return min(
        sum(map(cost, chosen))
        for chosen in product(*options.values())
        if sum(option.divergence for option in chosen) <= budget
    )


def dtypes(chosen):
    return {layer: option.scheme.weight for layer, option in chosen.items()}


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-8])
@pytest.mark.parametrize("seed", range(8))
def test_no_combination_has_fewer_bytes(seed, scale):
    """Divergences of one layer are often below a solver's tolerances; the answer must not depend on their unit."""
    rng = np.random.default_rng(seed)
    int8 = {f"layer {i}": scale * float(rng.lognormal()) for i in range(7)}
    int4 = {layer: divergence * float(rng.uniform(2, 20)) for layer, divergence in int8.items()}
    options = options_of(int8, {layer: int(rng.integers(1_000, 2_000_000)) for layer in int8}, int4)
    budget = scale * float(rng.uniform(0.5, 8))
    chosen = assign_precision(options, budget)
    assert list(chosen) == list(options)
    assert sum(option.divergence for option in chosen.values()) <= budget * (1 + 1e-6)
    assert sum(option.bytes for option in chosen.values()) == least(
        options, budget, lambda option: option.bytes
    )


@pytest.mark.parametrize("seed", range(20))
def test_bytes_and_floating_point_macs_weigh_alike(seed):
    rng = np.random.default_rng(seed)
    int8 = {str(layer): float(rng.uniform(0.1, 2)) for layer in range(5)}
    options = options_of(int8, {layer: int(rng.integers(1_000, 2_000_000)) for layer in int8}, int8)
    macs = {layer: float(rng.integers(0, 1_000_000)) for layer in int8}
    in_int8 = {"fp16": "none", "int8": "dynamic_int8", "int4": "none"}
    options = {
        layer: [
            replace(one, macs=macs[layer], scheme=replace(one.scheme, activation=in_int8[one.scheme.weight]))
            for one in several
        ]
        for layer, several in options.items()
    }
    whole = sum(several[0].bytes for several in options.values())

    def cost(option):
        slow = 0.0 if option.scheme.weight == "int8" else option.macs
        return option.bytes / whole + slow / (sum(macs.values()) or 1.0)

    chosen = assign_precision(options, 3.0)
    assert sum(map(cost, chosen.values())) == pytest.approx(least(options, 3.0, cost), rel=1e-9)


def test_a_layer_that_computes_goes_before_a_larger_table():
    table = [Choice(Scheme("fp16"), 1000, 0.0), Choice(Scheme("int8"), 500, 1.0)]
    layer = [
        Choice(Scheme("fp16"), 800, 0.0, 9.0),
        Choice(Scheme("int8", activation="dynamic_int8"), 400, 1.0, 9.0),
    ]
    chosen = assign_precision({"table": table, "layer": layer}, 1.0)
    assert dtypes(chosen) == {"table": "fp16", "layer": "int8"}


def test_a_small_gain_is_not_left_to_the_solvers_gap():
    options = options_of(
        dict.fromkeys(("large", "small", "slightly larger"), 0.5),
        {"large": 50_000_000, "small": 100, "slightly larger": 102},
    )
    chosen = dtypes(assign_precision(options, 1.0))
    assert chosen == {"large": "int8", "small": "fp16", "slightly larger": "int8"}


def test_without_a_budget_only_layers_that_lose_nothing_are_integers():
    chosen = assign_precision(options_of({"a": 0.0, "b": 1e-9, "c": -1e-7}), 0.0)
    assert dtypes(chosen) == {"a": "int8", "b": "fp16", "c": "int8"}


def test_a_large_budget_takes_the_smallest_of_every_layer():
    int8 = {"b": 0.1, "a": 0.2}
    assert set(dtypes(assign_precision(options_of(int8), 10.0)).values()) == {"int8"}
    assert set(dtypes(assign_precision(options_of(int8, int4=int8), 10.0)).values()) == {"int4"}


def test_negative_divergences_do_not_pay_for_others():
    assert dtypes(assign_precision(options_of({"a": -5.0, "b": 1.0}), 0.5)) == {"a": "int8", "b": "fp16"}


def test_a_model_without_layers_has_no_precisions():
    assert assign_precision({}, 1.0) == {}


OPTIONS = options_of({f"layer {i}": float(i) for i in range(12)})


def all_int8(*numbers):
    return {f"layer {i}": OPTIONS[f"layer {i}"][1] for i in numbers}


def test_what_keeps_the_budget_is_measured_once():
    asked = []

    def divergence(kept):
        asked.append(dtypes(kept))
        return 0.5

    chosen = all_int8(1, 3)
    assert verify_precision(chosen, OPTIONS, divergence, 0.5) == (chosen, 0.5)
    assert asked == [{"layer 1": "int8", "layer 3": "int8"}]


def test_the_most_sensitive_layers_are_raised_until_the_budget_is_met():
    def divergence(kept):
        return (
            sum(option.divergence for option in kept.values()) ** 2 / 10
        )  # more than the sum, as may happen

    kept, joint = verify_precision(all_int8(4, 1, 5, 2), OPTIONS, divergence, 1.0)
    assert dtypes(kept) == {"layer 4": "fp16", "layer 1": "int8", "layer 5": "fp16", "layer 2": "int8"}
    assert joint == pytest.approx(0.9)


def test_a_layer_is_raised_by_one_step_at_a_time():
    options = options_of({"a": 0.1, "b": 0.3}, int4={"a": 1.0, "b": 2.0})
    steps = []

    def divergence(kept):
        steps.append(tuple(dtypes(kept).values()))
        return sum(option.divergence for option in kept.values())

    kept, _ = verify_precision(
        {layer: several[2] for layer, several in options.items()}, options, divergence, 0.2
    )
    assert steps == [("int4", "int4"), ("int4", "int8"), ("int8", "int8"), ("int8", "fp16")]
    assert dtypes(kept) == {"a": "int8", "b": "fp16"}


def test_repairs_are_bounded():
    asked = []

    def divergence(kept):
        asked.append(list(dtypes(kept).values()).count("int8"))
        return 9.0

    kept, joint = verify_precision(all_int8(*range(12)), OPTIONS, divergence, 1.0)
    assert asked == list(range(12, 12 - REPAIRS - 1, -1))
    assert list(dtypes(kept).values()) == ["int8"] * (12 - REPAIRS) + ["fp16"] * REPAIRS
    assert joint == 9.0


def test_without_lossy_layers_there_is_nothing_to_raise():
    assert verify_precision({}, OPTIONS, lambda kept: 2.0, 1.0) == ({}, 2.0)


FLOAT, DYNAMIC = Scheme("fp16"), Scheme("int8", activation="dynamic_int8")
STATIC, BLOCKS = Scheme("int8", activation="static_int8"), Scheme("int4", "per_block", "dynamic_int8")


def random_choices(seed: int, scale: float) -> dict[str, list[Choice]]:
    """Five layers in four schemes, the smaller the worse."""
    rng = np.random.default_rng(seed)
    choices = {}
    for layer in range(5):
        size, macs, base = (
            int(rng.integers(1_000, 99_000)),
            float(rng.integers(1, 99)),
            scale * rng.lognormal(),
        )
        choices[f"layer {layer}"] = [
            Choice(FLOAT, 4 * size, 0.0, macs),
            Choice(DYNAMIC, 2 * size, base, macs),
            Choice(STATIC, 2 * size, base * float(rng.uniform(1, 5)), macs),
            Choice(BLOCKS, size, base * float(rng.uniform(10, 90)), macs),
        ]
    return choices


def total(chosen, name):
    return sum(getattr(choice, name) for choice in chosen)


def keeps(chosen, limits):
    return (
        total(chosen, "bytes") <= limits.bytes
        and total(chosen, "int8_macs") >= limits.int8_macs
        and total(chosen, "static_macs") >= limits.static_macs
    )


@pytest.mark.parametrize("scale", [1.0, 1e-6])
@pytest.mark.parametrize("seed", range(6))
def test_no_combination_within_the_limits_diverges_less(seed, scale):
    choices = random_choices(seed, scale)
    largest, macs = (
        sum(each[0].bytes for each in choices.values()),
        sum(each[0].macs for each in choices.values()),
    )
    limits = Limits(bytes=0.4 * largest, int8_macs=0.7 * macs, static_macs=0.3 * macs)
    chosen = least_divergence(choices, limits)
    assert keeps(chosen.values(), limits)
    allowed = [one for one in product(*choices.values()) if keeps(one, limits)]
    assert total(chosen.values(), "divergence") == pytest.approx(
        min(total(one, "divergence") for one in allowed), rel=1e-2
    )


def test_of_equal_divergences_the_smaller_is_taken():
    choices = {"a": [Choice(FLOAT, 400, 1e-5), Choice(DYNAMIC, 200, 1e-5)], "b": [Choice(FLOAT, 4, 0.0)]}
    assert least_divergence(choices, Limits(bytes=1e6))["a"].bytes == 200


@pytest.mark.parametrize("limits", [Limits(bytes=10), Limits(bytes=-5), Limits(bytes=1e9, static_macs=1e9)])
def test_limits_that_nothing_keeps(limits):
    assert least_divergence(random_choices(0, 1.0), limits) is None
    assert try_plans(random_choices(0, 1.0), limits, lambda chosen: 0.0, 0.0, 8) == []


CHOICES = {
    "a": [Choice(FLOAT, 400, 0.0), Choice(DYNAMIC, 200, 0.2), Choice(BLOCKS, 100, 0.9)],
    "b": [Choice(FLOAT, 400, 0.0), Choice(DYNAMIC, 200, 0.1), Choice(BLOCKS, 100, 0.8)],
}


def schemes(trial):
    return {layer: choice.scheme for layer, choice in trial.chosen.items()}


def test_the_first_plan_inside_the_loss_ends_the_trials():
    trials = try_plans(CHOICES, Limits(bytes=400), lambda chosen: 0.01, 0.01, 8)
    assert [schemes(trial) for trial in trials] == [{"a": DYNAMIC, "b": DYNAMIC}]
    assert trials[0].divergence == pytest.approx(0.3) and trials[0].bytes == 400 and trials[0].raised is None


def test_the_worst_layer_is_raised_and_others_pay_for_it():
    """500 bytes let one layer be FP16 only if the other is INT4."""
    trials = try_plans(CHOICES, Limits(bytes=500), lambda chosen: 1.0, 0.0, 8)
    assert [schemes(trial) for trial in trials] == [
        {"a": DYNAMIC, "b": DYNAMIC},
        {"a": FLOAT, "b": BLOCKS},
    ]
    assert [trial.raised for trial in trials] == [None, "a"]
    assert all(trial.bytes <= 500 for trial in trials)


def test_trials_are_bounded():
    asked = []
    trials = try_plans(
        CHOICES, Limits(bytes=1e6, int8_macs=0.0), lambda chosen: asked.append(1) or 1.0, 0.0, 3
    )
    assert len(asked) == len(trials) == 1  # nothing is left to raise: all is FP16
    choices = random_choices(3, 1.0)
    half = Limits(bytes=0.5 * sum(several[0].bytes for several in choices.values()))
    assert len(try_plans(choices, half, lambda chosen: 1.0, 0.0, 2)) == 2


@pytest.mark.parametrize(("limit_ms", "share"), [(4.0, 1.0), (7.0, 0.5), (10.0, 0.0), (50.0, 0.0)])
def test_the_least_share_in_int8_keeps_a_latency(limit_ms, share):
    latency = Latency(fp32_ms=10.0, int8_ms=4.0, limit_ms=limit_ms)
    assert latency.least_share == pytest.approx(share)
    assert latency.at(share) <= limit_ms + 1e-9


def test_a_latency_that_int8_does_not_keep_has_no_share():
    assert Latency(fp32_ms=10.0, int8_ms=4.0, limit_ms=3.9).least_share is None
    assert Latency(fp32_ms=4.0, int8_ms=10.0, limit_ms=3.9).least_share is None
