import numpy as np
import pytest

from edgesmith.measure import guards
from edgesmith.measure.size import Sizes
from edgesmith.records import Latencies, LatencySample, LayerPlan, LayerSensitivity, Plan

LOGITS = np.array([[2.0, -1.0], [0.0, 3.0], [1.0, 0.5]])
LABELS = np.array([0, 1, 0])
SIZES = Sizes(device=60, model=50, baseline=100)
PLAN = Plan(
    layers=(
        LayerPlan(layer="embeddings", kind="embedding", weight="int8"),
        LayerPlan(layer="layers.0.ffn", kind="linear", weight="fp16"),
    )
)
STORED = {"embeddings": "int8", "layers.0.ffn": "fp16"}


def sample(p50):
    return LatencySample(p50=p50, p90=2 * p50, p99=3 * p50, n=9)


def timed(artifact, fp32):
    return Latencies(
        samples={"artifact": sample(artifact), "fp32": sample(fp32)}, rounds=3, inputs=3, threads=1
    )


GOOD = {
    "logits": LOGITS,
    "labels": LABELS,
    "agreement": 0.9,
    "min_agreement": 0.8,
    "sizes": SIZES,
    "latencies": timed(1.0, 4.0),
    "plan": PLAN,
    "stored": STORED,
}


def run(**changes):
    inputs = GOOD | changes
    logits = inputs.pop("logits")
    return guards.run_guards(logits, logits.argmax(axis=1), inputs.pop("labels"), **inputs)


def test_a_good_artifact_passes():
    assert run() == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"logits": np.array([[np.nan, 1.0], [0.0, np.inf], [1.0, 0.0]])},
            "2 of 3 rows have NaN or infinite outputs",
        ),
        (
            {"logits": np.array([[0.0, 1.0]] * 3)},
            "all 3 rows have the answer 1; the labels have 2 values",
        ),
        ({"agreement": 0.799}, "agreement with the teacher is 79.9 of 100, below the floor of 80.0"),
        (
            {"stored": STORED | {"embeddings": "fp32"}},
            "1 of 2 plan entries were ignored: embeddings (planned int8, stored fp32)",
        ),
        (
            {"stored": {"embeddings": "int8"}},
            "1 of 2 plan entries were ignored: layers.0.ffn (planned fp16, stored nowhere)",
        ),
        (
            {"sizes": Sizes(device=160, model=1500, baseline=1500)},
            "not smaller than its parent: 1,500 bytes against 1,500 bytes in FP32",
        ),
        (
            {"latencies": timed(4.5, 4.0)},
            "slower than its parent in FP32 on the same runtime: p50 4.5 ms against 4 ms",
        ),
    ],
)
def test_each_guard_trips_alone(changes, sentence):
    assert run(**changes) == [sentence]


def test_all_trip_together():
    everything = {
        "logits": np.full((3, 2), np.nan),
        "agreement": 0.1,
        "sizes": Sizes(device=1, model=2, baseline=1),
        "latencies": timed(2.0, 1.0),
        "stored": {},
    }
    assert len(run(**everything)) == 6


def test_edges_that_are_fine():
    assert guards.low_agreement(0.8, 0.8) == []
    assert guards.slower_than_parent(sample(1.0), sample(1.0)) == []
    assert guards.collapsed(np.array([1, 1]), np.array([1, 1])) == []
    assert guards.collapsed(np.array([2.5, 2.6]), np.array([1.0, 4.0])) == []
    assert guards.ignored_plan_entries(PLAN, STORED | {"head": "fp32"}) == []


def test_one_score_for_every_row_is_a_collapse():
    (sentence,) = guards.collapsed(np.full(3, 2.5), np.array([1.0, 4.0, 2.0]))
    assert sentence == "all 3 rows have the answer 2.5; the labels have 3 values"


def test_a_long_list_of_layers_is_cut():
    plan = Plan(layers=tuple(LayerPlan(layer=f"l{i}", kind="linear", weight="int8") for i in range(8)))
    (sentence,) = guards.ignored_plan_entries(plan, {})
    assert sentence.startswith("8 of 8 plan entries")
    assert "l4 (planned" in sentence
    assert "l5" not in sentence
    assert sentence.endswith("and 3 more")


def measured(*, weights=0.0, inputs=0.0) -> LayerSensitivity:
    return LayerSensitivity(
        layer="layers.0.ffn",
        kind="linear",
        parameters=4,
        macs=4.0,
        weights={"int8 per_channel": 0.1},
        activations={"static": 0.1},
        vanished_weights={"int8 per_channel": weights},
        vanished_inputs=inputs,
    )


def static_plan(low, high, weight="int8") -> Plan:
    entry = LayerPlan(
        layer="layers.0.ffn", kind="linear", weight=weight, activation="static_int8", input_range=(low, high)
    )
    return Plan(layers=(LayerPlan(layer="embeddings", kind="embedding", weight="int8"), entry))


@pytest.mark.parametrize(
    ("found", "plan", "sentences"),
    [
        (measured(weights=0.5, inputs=0.6), static_plan(-0.2, 24.0), []),
        (
            measured(weights=0.991),
            static_plan(-1.0, 1.0),
            ["99.1% of the weights of layers.0.ffn become 0 in int8 per_channel: outliers set the scale"],
        ),
        (
            measured(inputs=0.97),
            static_plan(-0.2, 900.0),
            ["97.0% of the inputs of layers.0.ffn become 0 between -0.2 and 900: outliers set the range"],
        ),
        (
            measured(inputs=1.0),
            static_plan(-3.4e38, 9.0),
            [
                "100.0% of the inputs of layers.0.ffn become 0 between -3.4e+38 and 9: "
                "a constant of the attention mask reaches it"
            ],
        ),
        (measured(weights=1.0, inputs=1.0), PLAN, []),  # the layer is in FP16 there
    ],
)
def test_layers_whose_values_vanish(found, plan, sentences):
    assert guards.vanished(plan, [found]) == sentences
