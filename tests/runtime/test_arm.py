"""Bundles on emulated Arm processors against this machine's answers: `make test-arm`.

An emulator shows whether the answers are right, and nothing about time.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import arm_prefix
import numpy as np
import pytest
from arm_prefix import ARM, PACKAGES, PROCESSORS, WHEELS, python_command
from bundle_checks import run_alone
from fixtures_images import noise_arrays, png, tiny_compact_vit
from fixtures_models import LABELS, tiny_compact
from fixtures_words import word_pieces
from transformers import PreTrainedModel

import edgesmith
from edgesmith.compress.quantize import layer_kind, quantizable_layers, scheme_layer, uniform_plan
from edgesmith.export.bundle import write_bundle
from edgesmith.records import ImagePreprocessing, Plan, Scheme
from edgesmith.runtime import load_bundle

MAX_LENGTH = 32
TEXTS = [
    "Ada Lovelace was born in London on a rainy day.",
    "Who?",
    "Über the hill, over the hill, on the hill; where was the rain, and who was in the rain on a rainy day?",
    "a day's rain",
]
SECOND_TEXTS = ["Was Ada born in London?", "", "Where", "London, London, London. London's day!"]
PREPROCESSING = ImagePreprocessing(
    resize=(16, 12), crop=None, resample=2, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
)

SCHEMES: dict[str, dict[str, Scheme]] = {
    "onnxruntime": {
        "int8-static": Scheme("int8", activation="static_int8"),
        "int8-blocks": Scheme("int8", "per_block", "dynamic_int8"),
        "int4-blocks": Scheme("int4", "per_block", "dynamic_int8"),
    },
    "litert": {"int4": Scheme("int4", activation="dynamic_int8")},
}
"""What a runtime has for linear layers beside FP32 and dynamic INT8."""

CASES = [
    f"{runtime}-{kind}-{precision}"
    for runtime, others in SCHEMES.items()
    for kind in ("single", "pair", "image")
    for precision in ("fp32", "int8", *(others if kind == "single" else ()))
]

FP32_TOLERANCE = 1e-5
"""Of the largest logit: FP32 sums in another order (5e-7 seen). In other precisions such a difference may move an input to
the next integer, on either machine: each lies as far from FP32 as the precision does here, and so at most twice as far from
the other."""

needs_arm = pytest.mark.skipif(
    not (ARM / ".stamp").is_file(), reason="no emulated Arm processor is prepared: make test-arm"
)

CHILD = """
import json, platform, sys
sys.path[:0] = sys.argv[1:]
from importlib.metadata import version
from edgesmith.runtime import load_bundle
names, *questions = map(json.loads, sys.stdin)
print(json.dumps([platform.machine(), {name: version(name) for name in names}]), flush=True)
for bundle, inputs, pairs in questions:
    with load_bundle(bundle) as predictor:
        print(json.dumps(predictor.logits(inputs, pairs).tolist()), flush=True)
"""


@dataclass(frozen=True)
class Question:
    """A bundle and what it is asked."""

    bundle: Path
    inputs: list[str]
    pairs: list[str] | None

    @property
    def arguments(self) -> list[str]:
        """Of ``run.py``."""
        if self.pairs is None:
            return ["--json", *self.inputs]
        return [
            "--json",
            "--pair",
            *(text for both in zip(self.inputs, self.pairs, strict=True) for text in both),
        ]


def text_model() -> PreTrainedModel:
    """Wide enough for the inner loops of kernels, and little work for an emulator."""
    sizes = {"embedding_size": 32, "hidden_size": 128, "head_dim": 32, "initializer_range": 0.1}
    widths = {"heads_per_layer": [4, 2], "ffn_per_layer": [256, 96]}
    return tiny_compact(max_position_embeddings=MAX_LENGTH, **sizes, **widths)


def plan_of(model: PreTrainedModel, runtime: str, precision: str) -> Plan:
    if precision == "fp32":
        return Plan(layers=())
    if precision == "int8":
        return uniform_plan(model, "test")
    return Plan(
        layers=tuple(
            scheme_layer(name, module, SCHEMES[runtime][precision], input_range=(-4.0, 4.0))
            for name, module in quantizable_layers(model).items()
            if layer_kind(module) == "linear"
        )
    )


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Question]:
    """One for each of `CASES`."""
    pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")
    folder = tmp_path_factory.mktemp("arm")
    images = [folder / f"{number}.png" for number in range(4)]
    for path, array in zip(images, noise_arrays(len(images)), strict=True):
        path.write_bytes(png(array))
    asked = {
        "single": (TEXTS, None),
        "pair": (TEXTS, SECOND_TEXTS),
        "image": ([str(path) for path in images], None),
    }
    models = {"single": text_model(), "pair": text_model(), "image": tiny_compact_vit()}
    tokenizer = {"tokenizer.json": word_pieces().to_str()}

    @cache
    def graph_of(runtime: str, kind: str) -> Path:
        exporter = importlib.import_module(f"edgesmith.export.{runtime}")
        path = folder / f"{kind}.{exporter.MODEL_NAME}"
        exporter.export_graph(models[kind], path, max_length=MAX_LENGTH, pairs=kind == "pair")
        return path

    def bundle_of(case: str) -> Path:
        runtime, kind, precision = case.split("-", 2)
        exporter = importlib.import_module(f"edgesmith.export.{runtime}")
        is_image, plan = kind == "image", plan_of(models[kind], runtime, precision)
        artifact = exporter.lower(graph_of(runtime, kind), plan, folder / f"{case}.{exporter.MODEL_NAME}")
        write_bundle(
            folder / case,
            files={exporter.MODEL_NAME: artifact.path} | ({} if is_image else tokenizer),
            runtime=runtime,
            task="image-classification" if is_image else "text-classification",
            model=exporter.MODEL_NAME,
            inputs=artifact.inputs,
            outputs=artifact.outputs,
            labels=tuple("abcde") if is_image else LABELS,
            max_length=MAX_LENGTH,
            plan=plan,
            session={},
            metrics={},
            provenance={},
            preprocessing=PREPROCESSING if is_image else None,
        )
        return folder / case

    return {case: Question(bundle_of(case), *asked[case.split("-")[1]]) for case in CASES}


@pytest.fixture(scope="module")
def logits_here(questions: dict[str, Question]) -> dict[str, np.ndarray]:
    found = {}
    for case, question in questions.items():
        with load_bundle(question.bundle) as predictor:
            found[case] = predictor.logits(question.inputs, question.pairs)
    return found


@pytest.fixture(scope="module")
def logits_on(questions: dict[str, Question]) -> Callable[[str], dict[str, np.ndarray]]:
    """Processor -> logits of every case, from one emulated Python that has a device's packages and edgesmith's source."""

    @cache
    def ask(processor: str) -> dict[str, np.ndarray]:
        asked = [WHEELS, *([str(q.bundle), q.inputs, q.pairs] for q in questions.values())]
        sources = (str(PACKAGES), str(Path(edgesmith.__file__).parents[1]))
        command = [*python_command(processor), "-I", "-S", "-c", CHILD, *sources]
        lines = "".join(json.dumps(part) + "\n" for part in asked)
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
        first, *found = map(json.loads, done.stdout.splitlines() or ["null"])
        assert first == ["aarch64", {name: version(name) for name in WHEELS}], done.stderr
        assert len(found) == len(questions), f"{CASES[len(found)]}: {done.stderr}"
        return {case: np.array(logits, np.float32) for case, logits in zip(questions, found, strict=True)}

    return ask


@needs_arm
@pytest.mark.arm
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_logits_are_those_of_this_machine(
    processor: str,
    case: str,
    logits_here: dict[str, np.ndarray],
    logits_on: Callable[[str], dict[str, np.ndarray]],
    record_property: Callable[[str, object], None],
) -> None:
    expected, found = logits_here[case], logits_on(processor)[case]
    runtime, kind, precision = case.split("-", 2)
    exact = logits_here[f"{runtime}-{kind}-fp32"]
    rounding = np.abs(expected - exact).max()
    allowed = FP32_TOLERANCE * np.abs(exact).max() if precision == "fp32" else 2 * rounding
    worst = np.abs(found - expected).max()
    record_property("worst_of_largest_logit", float(worst / np.abs(expected).max()))
    assert np.ptp(expected, axis=0).max() > allowed  # another input's answer would not pass
    assert worst <= allowed


@needs_arm
@pytest.mark.arm
@pytest.mark.parametrize("case", CASES)
def test_run_py_answers_as_here(
    case: str, questions: dict[str, Question], logits_on: Callable[[str], dict[str, np.ndarray]]
) -> None:
    question = questions[case]
    done = run_alone(PACKAGES, question.bundle, *question.arguments, python=python_command("cortex-a76"))
    assert done.returncode == 0, done.stderr
    with load_bundle(question.bundle) as predictor:
        here = predictor.predict(question.inputs, question.pairs)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["label"] for answer in answers] == [answer.label for answer in here]
    np.testing.assert_allclose(
        [answer["probability"] for answer in answers],
        [answer.probability for answer in here],
        atol=1e-5 if case.endswith("fp32") else 0.05,
    )


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    """On a machine without apt."""
    for name in ("arm_prefix.py", "constraints.txt"):
        source = Path(arm_prefix.__file__) if name.endswith(".py") else arm_prefix.ROOT / name
        target = tmp_path / "tests" / name if name.endswith(".py") else tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    command = [sys.executable, str(tmp_path / "tests" / "arm_prefix.py")]
    done = subprocess.run(
        command, env={**os.environ, "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: dpkg is not on PATH; ")
    assert done.stderr.endswith("type: make test-arm\n")
