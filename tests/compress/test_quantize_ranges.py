from __future__ import annotations

import pytest
import torch
from fixtures_models import random_batch, tiny_compact
from torch import nn

from edgesmith.compress.quantize import quantizable_layers, quantize_in_range
from edgesmith.compress.quantize_ranges import (
    Inputs,
    input_range,
    observe_inputs,
    vanished_inputs,
    vanished_weights,
)
from edgesmith.records.plan import uint8_steps


def seen(values: torch.Tensor) -> Inputs:
    """As if they were all that a layer was given; each is drawn about ten times."""
    inputs = Inputs()
    inputs.add(values[:, None], 10 * len(values), torch.Generator().manual_seed(0))
    return inputs


def normal(count: int) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def model():
    return tiny_compact()


def test_every_linear_layer_is_observed_without_padding(model):
    """A row of 5 tokens beside one of 12: what stands in the 7 places of padding is in no range."""
    alone, padded = random_batch((12,)), random_batch((12, 5))
    alone = {name: padded[name][:1] for name in alone} | {"row": torch.tensor([0])}
    short = {name: value[1:, :5] if value.dim() == 2 else value[1:] for name, value in padded.items()}
    together, apart = observe_inputs(model, [padded]), observe_inputs(model, [alone, short])
    linear = {name for name, module in quantizable_layers(model).items() if isinstance(module, nn.Linear)}
    assert set(together) == linear
    first = together["layers.0.attention.qkv"]
    assert first.positions == 12 + 5 and first.computed == 2 * 12
    assert together["pooler"].positions == 2
    for name in ("layers.0.attention.qkv", "layers.1.ffn.output", "pooler"):
        assert (together[name].low, together[name].high) == pytest.approx(
            (apart[name].low, apart[name].high), abs=1e-5
        )
    # The last layer computes the first token only.
    assert together["layers.2.ffn.output"].positions == 2
    assert first.low <= float(first.sample.min()) <= float(first.sample.max()) <= first.high


def test_observers():
    values = torch.cat([normal(20_000), torch.tensor([90.0])])
    inputs = seen(values)
    assert input_range(inputs, "min_max") == (float(values.min()), 90.0)
    low, high = input_range(inputs, "percentile")
    assert -5 < low < -3 < 3 < high < 5  # 1 in 10,000 of a normal distribution lies beyond 3.7
    low, high = input_range(inputs, "mse")
    assert float(values.min()) <= low < 0 and 4.4 < high <= 90.0

    def error(value_range):
        return float((quantize_in_range(inputs.sample, value_range) - inputs.sample).pow(2).mean())

    assert error((low, high)) <= min(
        error(input_range(inputs, "min_max")), error(input_range(inputs, "percentile"))
    )


def test_a_range_holds_0_and_both_ends():
    scale, zero_point = uint8_steps((-1.0, 4.1))
    assert scale == pytest.approx(5.1 / 255) and zero_point == round(1.0 / scale)
    assert uint8_steps((2.0, 5.1)) == (pytest.approx(5.1 / 255), 0)
    assert uint8_steps((0.0, 0.0)) == (2.0**-126, 0)
    given = torch.tensor([-9.0, -1.0, 0.0, 4.1, 9.0])
    torch.testing.assert_close(
        quantize_in_range(given, (-1.0, 4.1)), torch.tensor([-1.0, -1.0, 0.0, 4.1, 4.1])
    )


def test_what_a_wide_range_leaves_of_the_inputs():
    inputs = seen(normal(5000))
    assert vanished_inputs(inputs, (-4.0, 4.0)) < 0.05
    assert vanished_inputs(inputs, (-3.4e38, 4.0)) == 1.0
    assert vanished_inputs(seen(torch.zeros(3)), (-1.0, 1.0)) == 0.0


def test_what_an_outlier_leaves_of_a_row():
    weight = torch.ones(2, 100)
    weight[0, 0] = 1000.0  # a step of 7.9: the other 99 become 0
    assert vanished_weights(weight, "int8", "per_channel") == pytest.approx(99 / 200)
    assert vanished_weights(weight, "int8", "per_block") == pytest.approx(31 / 200)
    assert vanished_weights(torch.zeros(2, 4), "int8", "per_channel") == 0.0


def test_infinity_is_the_largest_number():
    inputs = seen(torch.tensor([float("-inf"), 1.0]))
    assert input_range(inputs, "mse")[0] == torch.finfo(torch.float32).min
