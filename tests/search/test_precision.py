from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from edgesmith.search.precision import REPAIRS, assign_precision, verify_precision


def best_saving(sensitivity, saved, budget) -> int:
    """By trying every subset."""
    layers = list(sensitivity)
    return max(
        sum(saved[layer] for layer in chosen)
        for size in range(len(layers) + 1)
        for chosen in combinations(layers, size)
        if sum(sensitivity[layer] for layer in chosen) <= budget
    )


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-8])
@pytest.mark.parametrize("seed", range(8))
def test_as_many_bytes_are_saved_as_by_trying_everything(seed, scale):
    """Divergences of one layer are often below a solver's tolerances; the answer must not depend on their unit."""
    rng = np.random.default_rng(seed)
    sensitivity = {f"layer {i}": scale * float(rng.lognormal()) for i in range(9)}
    saved = {layer: int(rng.integers(1_000, 2_000_000)) for layer in sensitivity}
    budget = scale * float(rng.uniform(0.5, 8))
    chosen = assign_precision(sensitivity, saved, budget)
    assert sum(sensitivity[layer] for layer in chosen) <= budget * (1 + 1e-6)
    assert sum(saved[layer] for layer in chosen) == best_saving(sensitivity, saved, budget)


def test_a_small_gain_is_not_left_to_the_solvers_gap():
    sensitivity = {"large": 0.5, "small": 0.5, "slightly larger than small": 0.5}
    saved = {"large": 50_000_000, "small": 100, "slightly larger than small": 101}
    assert assign_precision(sensitivity, saved, 1.0) == ["large", "slightly larger than small"]


def test_without_a_budget_only_layers_that_cost_nothing_are_int8():
    assert assign_precision({"a": 0.0, "b": 1e-9, "c": -1e-7}, {"a": 1, "b": 10, "c": 1}, 0.0) == ["a", "c"]


def test_a_large_budget_takes_every_layer_in_order():
    sensitivity = {"b": 0.1, "a": 0.2, "c": 0.3}
    assert assign_precision(sensitivity, dict.fromkeys(sensitivity, 5), 10.0) == ["b", "a", "c"]


def test_negative_divergences_do_not_pay_for_others():
    assert assign_precision({"a": -5.0, "b": 1.0}, {"a": 1, "b": 1}, 0.5) == ["a"]


SENSITIVITY = {f"layer {i}": float(i) for i in range(12)}


def test_what_keeps_the_budget_is_measured_once():
    asked = []

    def divergence(layers):
        asked.append(list(layers))
        return 0.5

    assert verify_precision(["layer 1", "layer 3"], SENSITIVITY, divergence, 0.5) == (
        ["layer 1", "layer 3"],
        0.5,
    )
    assert asked == [["layer 1", "layer 3"]]


def test_the_most_sensitive_layers_are_raised_until_the_budget_is_met():
    def divergence(layers):
        return sum(SENSITIVITY[layer] for layer in layers) ** 2 / 10  # more than the sum, as may happen

    kept, joint = verify_precision(["layer 4", "layer 1", "layer 5", "layer 2"], SENSITIVITY, divergence, 1.0)
    assert kept == ["layer 1", "layer 2"]
    assert joint == pytest.approx(0.9)


def test_repairs_are_bounded():
    asked = []

    def divergence(layers):
        asked.append(len(layers))
        return 9.0

    kept, joint = verify_precision(list(SENSITIVITY), SENSITIVITY, divergence, 1.0)
    assert asked == list(range(12, 12 - REPAIRS - 1, -1))
    assert kept == [f"layer {i}" for i in range(12 - REPAIRS)]
    assert joint == 9.0


def test_without_layers_there_is_nothing_to_raise():
    assert verify_precision([], SENSITIVITY, lambda layers: 2.0, 1.0) == ([], 2.0)
