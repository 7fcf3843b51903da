from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.stats
import torch
from fixtures_models import entries_of, logits_of, random_batch, tiny_bert, tiny_compact
from onnx import TensorProto, helper

from edgesmith.compress.quantize import (
    Divergence,
    executed,
    is_small_table,
    mean_divergence,
    plan_layer,
    quantizable_layers,
    quantize_activation,
    quantize_tokens,
    quantize_weight,
    uniform_plan,
)


def in_int8(*layers):
    return dict.fromkeys(layers, "int8")


INPUTS = {
    "both signs": torch.linspace(-3.1, 7.3, 60).view(1, 5, 12),
    "positive": torch.linspace(0.5, 2.0, 60).view(1, 5, 12),
    "negative": torch.linspace(-2.0, -0.5, 60).view(1, 5, 12),
    "random": torch.randn(1, 9, 48, generator=torch.Generator().manual_seed(3)),
    "one large": torch.cat([torch.full((1, 1, 59), 0.01), torch.full((1, 1, 1), 50.0)], dim=-1),
    "zeros": torch.zeros(1, 2, 3),
}


@pytest.fixture(scope="module")
def dynamic_quantize_linear():
    """ONNX Runtime's own DynamicQuantizeLinear and back."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero_point"]),
        helper.make_node("DequantizeLinear", ["y", "scale", "zero_point"], ["out"]),
    ]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", "s", "h"]) for name in ("x", "out")
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "round trip", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


@pytest.mark.parametrize("name", INPUTS)
def test_activations_are_rounded_as_onnx_runtime_rounds_them(name, dynamic_quantize_linear):
    hidden = INPUTS[name]
    expected = dynamic_quantize_linear(hidden.numpy())
    np.testing.assert_allclose(quantize_activation(hidden).numpy(), expected, rtol=1e-6, atol=1e-7)


def test_every_input_of_a_batch_has_its_own_scale():
    hidden = torch.cat([INPUTS["both signs"], 100 * INPUTS["positive"]])
    together = quantize_activation(hidden)
    assert torch.equal(together[:1], quantize_activation(hidden[:1]))
    assert torch.equal(together[1:], quantize_activation(hidden[1:]))


def test_every_token_may_have_its_own_scale():
    hidden = torch.cat([INPUTS["both signs"], 100 * INPUTS["positive"]])
    for row in range(2):
        for token in range(5):
            alone = hidden[row : row + 1, token : token + 1]
            assert torch.equal(quantize_tokens(hidden)[row, token], quantize_activation(alone)[0, 0])
    pooled = hidden[:, 0]
    assert torch.equal(quantize_tokens(pooled), quantize_activation(pooled))


def test_the_error_of_an_activation_is_at_most_half_a_step():
    hidden = INPUTS["random"]
    step = (hidden.max() - hidden.min()) / 255
    error = (quantize_activation(hidden) - hidden).abs().max()
    assert step / 4 < error <= step * 1.001  # the zero point is rounded too


def test_weights_are_symmetric_with_a_scale_for_each_row():
    weight = torch.tensor([[1.27, -0.634, 0.004, 0.0], [-12.7, 6.34, 0.04, 0.06]])
    expected = [[1.27, -0.63, 0.0, 0.0], [-12.7, 6.3, 0.0, 0.1]]  # steps of 0.01 and 0.1
    torch.testing.assert_close(quantize_weight(weight), torch.tensor(expected))


def test_int4_has_fifteen_steps_and_floating_point_formats_round():
    weight = torch.tensor([[0.7, -0.26, 0.04, 0.1]])
    torch.testing.assert_close(quantize_weight(weight, "int4"), torch.tensor([[0.7, -0.3, 0.0, 0.1]]))
    assert torch.equal(quantize_weight(weight, "fp16"), weight.half().float())
    assert quantize_weight(weight, "fp32") is weight
    many = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
    assert all(len(row.unique()) <= 15 for row in quantize_weight(many, "int4"))


def test_rows_of_zeros_stay_and_the_round_trip_is_idempotent():
    weight = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    once = quantize_weight(weight)
    assert torch.equal(once[3], torch.zeros(5))
    torch.testing.assert_close(quantize_weight(once), once)
    assert ((once - weight).abs() <= weight.abs().amax(dim=1, keepdim=True) / 127 / 2 * 1.001).all()


def test_quantizable_layers_are_named_by_their_paths():
    model = tiny_compact()
    layers = quantizable_layers(model)
    assert {
        "embeddings.word",
        "embeddings.projection",
        "layers.2.attention.qkv",
        "pooler",
        "classifier",
    } <= set(layers)
    matrices = sum(module.weight.numel() for module in layers.values())
    assert matrices == sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 2)


@pytest.mark.parametrize("make", [tiny_compact, tiny_bert])
def test_a_uniform_plan_leaves_out_the_small_tables(make):
    model = make()
    plan = uniform_plan(model, "because")
    planned = {entry.layer: entry for entry in plan.layers}
    assert set(quantizable_layers(model)) - set(planned) == {
        name for name in quantizable_layers(model) if is_small_table(name)
    }
    assert len(quantizable_layers(model)) - len(planned) == 2
    assert {entry.weight for entry in plan.layers} == {"int8"}
    assert planned["classifier"].activation == "dynamic_int8"
    assert {entry.kind for entry in plan.layers if "word" in entry.layer} == {"embedding"}


@pytest.mark.parametrize(
    ("name", "weight", "kind", "activation"),
    [
        ("pooler", "int8", "linear", "dynamic_int8"),
        ("pooler", "fp16", "linear", "none"),
        ("embeddings.word", "int8", "embedding", "none"),
    ],
)
def test_plan_layer(name, weight, kind, activation):
    module = quantizable_layers(tiny_compact())[name]
    entry = plan_layer(name, module, weight, sensitivity=0.5, reason="why")
    assert (entry.layer, entry.kind, entry.weight, entry.activation) == (name, kind, weight, activation)
    assert (entry.sensitivity, entry.reason) == (0.5, "why")


def test_simulated_layers_compute_with_rounded_weights_and_inputs():
    model = tiny_compact()
    linear = model.layers[1].ffn.intermediate
    hidden = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    expected = quantize_activation(hidden) @ quantize_weight(linear.weight.detach()).T + linear.bias
    before = linear(hidden)
    with executed(model, entries_of(model, in_int8("layers.1.ffn.intermediate", "embeddings.word"))):
        torch.testing.assert_close(linear(hidden), expected)
        row = model.embeddings.word(torch.tensor([4]))
    torch.testing.assert_close(row[0], quantize_weight(model.embeddings.word.weight.detach())[4])
    assert torch.equal(linear(hidden), before)


def test_the_model_is_left_as_before():
    model, batch = tiny_compact(), random_batch()
    weights = {name: (value.data_ptr(), value.clone()) for name, value in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    expected = logits_of(model, batch)
    with (
        pytest.raises(RuntimeError, match="stopped"),
        executed(model, entries_of(model, in_int8(*quantizable_layers(model)))),
    ):
        assert not torch.equal(logits_of(model, batch), expected)
        raise RuntimeError("stopped")
    assert torch.equal(logits_of(model, batch), expected)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    for name, value in model.state_dict().items():
        assert value.data_ptr() == weights[name][0] and torch.equal(value, weights[name][1])


def test_mean_divergence_is_the_kl_divergence():
    rng = np.random.default_rng(0)
    reference, logits = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3))
    p, q = (np.exp(part) / np.exp(part).sum(-1, keepdims=True) for part in (reference, logits))
    expected = np.mean(
        [scipy.stats.entropy(a, b) for a, b in zip(p.reshape(-1, 3), q.reshape(-1, 3), strict=True)]
    )
    batches = [torch.tensor(np.log(p[0])), torch.tensor(np.log(p[1, :2]))]
    whole = mean_divergence(
        [torch.tensor(np.log(part)) for part in p], [torch.tensor(part) for part in logits]
    )
    assert whole == pytest.approx(expected, rel=1e-6)
    # A row counts the same in a short batch.
    ragged = mean_divergence(batches, [torch.tensor(logits[0]), torch.tensor(logits[1, :2])])
    rows = [scipy.stats.entropy(p[0][i], q[0][i]) for i in range(5)] + [
        scipy.stats.entropy(p[1][i], q[1][i]) for i in range(2)
    ]
    assert ragged == pytest.approx(np.mean(rows), rel=1e-6)


def test_divergence_is_zero_without_layers_and_grows_with_them():
    model, batches = tiny_compact(), [random_batch(), random_batch(seed=1)]
    divergence = Divergence(model, batches)
    layers = list(quantizable_layers(model))
    assert divergence([]) == 0.0
    assert divergence(entries_of(model, in_int8(layers[0]))) > 0
    assert (
        divergence(entries_of(model, in_int8(*layers)))
        > max(divergence(entries_of(model, in_int8(layer))) for layer in layers) / 2
    )
    assert divergence(entries_of(model, dict.fromkeys(layers, "int4"))) > 10 * divergence(
        entries_of(model, in_int8(*layers))
    )
    assert divergence([]) == 0.0  # nothing of it stays


def test_divergence_is_the_mean_kl_to_the_whole_model():
    model, batches = tiny_compact(), [random_batch()]
    layers = ["layers.0.attention.qkv", "pooler"]
    reference = logits_of(model, batches[0]).log_softmax(dim=-1)
    with executed(model, entries_of(model, in_int8(*layers))):
        expected = mean_divergence([reference], [logits_of(model, batches[0])])
    assert Divergence(model, batches)(entries_of(model, in_int8(*layers))) == pytest.approx(expected)


def test_scores_diverge_like_normal_distributions_of_their_spread():
    rng = np.random.default_rng(0)
    reference = rng.normal(2.0, 1.5, size=(8, 1))
    moved = reference + rng.normal(0, 0.1, size=(8, 1))
    sigma = reference.std()
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(torch.tensor(reference), sigma), normal(torch.tensor(moved), sigma)
    ).mean()
    batches = [[torch.tensor(part[:5]), torch.tensor(part[5:])] for part in (reference, moved)]
    assert mean_divergence(*batches) == pytest.approx(float(expected), rel=1e-5)


def test_a_row_of_zeros_stays_one_where_denormals_are_flushed():
    torch.set_flush_denormal(True)
    assert torch.equal(quantize_weight(torch.zeros(1, 4)), torch.zeros(1, 4))
