"""A finished run folder, written with the records themselves."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgesmith.recipe import Budget, DataConfig, Recipe
from edgesmith.records import (
    Candidate,
    EncoderShape,
    Environment,
    FailedBudget,
    Latencies,
    LatencySample,
    LayerPlan,
    Percentiles,
    Plan,
    StepRecord,
    Structure,
    Verdict,
    to_dict,
    write_json,
)

P50 = {"artifact": 2.125, "fp32": 10.5, "int8": 5.25, "eager": 30.75}
LATENCIES = Latencies(
    samples={name: LatencySample(p50=p, p90=1.5 * p, p99=2.5 * p, n=1280) for name, p in P50.items()},
    rounds=20,
    inputs=64,
    threads=1,
    mean_tokens={"artifact": 24.5},
)
VERDICT = Verdict(
    passed=True,
    failed_budgets=(),
    failed_guards=(),
    task="text-classification",
    metric="accuracy",
    teacher=0.9345,
    artifact=0.9302,
    n_test=2101,
    drop=0.0043,
    drop_ci95=(-0.0021, 0.0107),
    mcnemar_p=0.213,
    agreement=0.9712,
    test_is_held_out=True,
    validation_drop=0.0031,
    runtime="onnxruntime",
    target="host",
    bundle="bundle/onnxruntime",
    size_bytes=2_345_678,
    model_size_bytes=2_012_345,
    baseline_size_bytes=90_876_543,
    size_ratio=90_876_543 / 2_012_345,
    latency_ms=Percentiles(p50=2.125, p90=1.5 * 2.125, p99=2.5 * 2.125),
    baseline_latency_ms=Percentiles(p50=10.5, p90=1.5 * 10.5, p99=2.5 * 10.5),
    latency_ratio=10.5 / 2.125,
    int8_latency_ratio=5.25 / 2.125,
    eager_latency_ratio=30.75 / 2.125,
    int8_baseline=0.9331,
    bow_baseline=0.8123,
    threads=1,
    rounds=20,
    load_ms=12.34,
    peak_rss_bytes=56_780_000,
    wall_s={"01-analyze": 10.4, "06-validate": 20.1},
)
FAILED = FailedBudget(
    budget="max_size_bytes",
    limit=100_000,
    value=2_345_678,
    unit="bytes",
    message="size 2.35 MB exceeds 0.10 MB by 2.25 MB (23.5x)",
)


def candidate(name, *, chosen=False, measured=True, **fields):
    shape = EncoderShape(
        vocab=10512,
        hidden=384,
        head_dim=32,
        heads=(6, 5, 4),
        neurons=(700, 600, 500),
        embedding_rank=128,
        positions=512,
    )
    structure = Structure(depth=3, heads=0.5, neurons=0.4, embedding_rank=128)
    settings = {"size_bytes": 2_100_000, "latency_ms": 2.2, "decision": "smallest inside the budget"} | fields
    return Candidate(
        name=name,
        structure=structure,
        shape=shape,
        chosen=chosen,
        latency_is_measured=measured,
        **settings,
    )


CANDIDATES = (
    candidate("wide", measured=False, latency_ms=4.4, size_bytes=5_500_000, decision="larger than needed"),
    candidate("half", chosen=True, trial_drop=0.0123, final_drop=-0.0004),
)
PLAN = Plan(
    layers=(
        LayerPlan(
            layer="embeddings.word", kind="embedding", weight="int8", sensitivity=0.00123, reason="cheap"
        ),
        LayerPlan(
            layer="layers.0.ffn.output",
            kind="linear",
            weight="fp16",
            sensitivity=0.0456,
            reason="costs too much in INT8",
        ),
        LayerPlan(layer="head", kind="linear", weight="int8", activation="dynamic_int8"),
    )
)
PARTS = {
    "word embeddings": 11_720_448,
    "position and type embeddings": 198_144,
    "layer 0 attention": 592_128,
    "layer 0 FFN": 1_182_336,
    "layer 1 attention": 592_128,
    "layer 1 FFN": 1_182_336,
    "head": 148_610,
}
"""Parameters of the teacher by component."""
TENSORS = {
    "embeddings.word.weight": (5_000, 128),
    "embeddings.projection.weight": (384, 128),
    "embeddings.position.weight": (64, 384),
    "embeddings.norm.weight": (384,),
    "layers.0.attention.output.weight": (384, 192),
    "layers.0.attention_norm.weight": (384,),
    "layers.0.ffn.output.weight": (384, 700),
    "layers.0.ffn_norm.bias": (384,),
    "classifier.weight": (2, 384),
}
"""Of the pruned model of `half`."""
ANALYSIS = {
    "parts": [{"name": name, "parameters": count} for name, count in PARTS.items()],
    "teacher_validation_quality": 0.9512,
}
FACTS = {"latencies": to_dict(LATENCIES), "int8_model_size_bytes": 23_456_789}


def step(name, *reasons, **facts):
    return StepRecord(step=name, key="0" * 8, wall_s=10.4, reasons=reasons, facts=facts)


STEPS = {
    "06-validate": step("validate", "64 inputs over all lengths", runtimes={"onnxruntime": FACTS}),
    "01-analyze": step("analyze", "word embeddings are 51.6 % of the bytes", **ANALYSIS),
    "02-distill/trial-half": step("distill", "rank 128 of 384", drop=0.0123),
    "02-distill/3-layers": step("distill", "layers 1, 3 and 6 of the teacher", quality=0.9456),
    "03-prune/half": step("prune", "kept 15 of 36 heads", quality=0.9489),
    "04-quantize/half": step("quantize", "1 layer stays in FP16"),
    "05-export/half-onnxruntime": step("export", model_bytes=2_012_345),
}


@pytest.fixture
def write_run(tmp_path):
    """Writes a run folder; keyword arguments replace fields of its verdict."""

    def write(name="demo", *, candidates=CANDIDATES, budget=None, steps=None, has_weights=True, **changes):
        path = tmp_path / name
        budget = budget or Budget(max_size_bytes=8_000_000, max_latency_ms=10.0)
        Recipe(model="teacher", data=DataConfig(path="data.csv"), budget=budget).save(
            path / "recipe.resolved.yaml"
        )
        environment = Environment(
            processor="Example CPU",
            cores=2,
            system="Linux",
            python="3.11.9",
            packages={"onnxruntime": "1.31.1"},
            features=("avx2",),
        )
        write_json(path / "environment.json", environment)
        write_json(path / "candidates.json", list(candidates))
        write_json(path / "04-quantize" / "half" / "plan-onnxruntime.json", PLAN)
        for folder, record in (STEPS | (steps or {})).items():
            write_json(path / folder / "step.json", record)
        if has_weights:
            folder = path / "03-prune" / "half" / "model"
            folder.mkdir(parents=True, exist_ok=True)
            tensors = {name: np.zeros(shape, np.float16) for name, shape in TENSORS.items()}
            save_file(tensors, folder / "model.safetensors")
        write_json(path / "verdict.json", dataclasses.replace(VERDICT, **changes))
        return path

    write.failed_budget, write.candidate, write.step = FAILED, candidate, step
    write.parts, write.tensors = PARTS, TENSORS
    return write
