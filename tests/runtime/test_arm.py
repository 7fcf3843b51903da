"""Bundles on emulated Arm processors against this machine's answers: `make test-arm`.

An emulator shows whether the answers are right, and nothing about time.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from arm_prefix import ARM, PACKAGES, PROCESSORS, WHEELS, python_command
from bundle_checks import run_alone
from fixtures_images import noise_arrays, png, tiny_compact_vit
from fixtures_models import SECOND_SENTENCES, SENTENCES, entries_of, minilm
from fixtures_text import CHILD_ENVIRONMENT, UNICODE_TEXTS, minilm_folder
from transformers import PreTrainedModel

from edgesmith.compress.quantize import layer_kind, quantizable_layers, scheme_layer, uniform_plan
from edgesmith.compress.quantize_ranges import input_range, observe_inputs
from edgesmith.compress.structure import factorise_embedding, keep_layers, keep_positions
from edgesmith.export.bundle import write_bundle
from edgesmith.models import to_compact
from edgesmith.records import ImagePreprocessing, Plan, Scheme
from edgesmith.runtime import load_bundle

pytestmark = [
    pytest.mark.arm,
    pytest.mark.skipif(not (ARM / ".stamp").is_file(), reason="no emulated Arm processor: make test-arm"),
]

MAX_LENGTH = 32
SINGLE = [*SENTENCES, *(text for text in UNICODE_TEXTS if text.strip() and "\n" not in text)]
PREPROCESSING = ImagePreprocessing(
    resize=(16, 12), crop=None, resample=2, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
)

INTEGERS = {
    "int8": Scheme("int8", activation="dynamic_int8"),
    "int8 static": Scheme("int8", activation="static_int8"),
    "int8 per_block": Scheme("int8", "per_block", "dynamic_int8"),
    "int4 per_block": Scheme("int4", "per_block", "dynamic_int8"),
    "int4": Scheme("int4", activation="dynamic_int8"),
}
"""How linear layers are stored and computed."""
ONLY_ON = {"int8 static": "onnxruntime", "int8 per_block": "onnxruntime", "int4 per_block": "onnxruntime", "int4": "litert"}
CASES = [
    (runtime, kind, precision)
    for runtime in ("onnxruntime", "litert")
    for kind in ("single", "pair", "image")
    for precision in ("fp32", *INTEGERS)
    if precision in ("fp32", "int8") or (kind == "single" and ONLY_ON[precision] == runtime)
]


@dataclass(frozen=True)
class Request:
    """A bundle and what it is asked."""

    bundle: Path
    inputs: list[str]
    pairs: list[str] | None = None

    @property
    def arguments(self) -> list[str]:
        """Of ``run.py``."""
        if self.pairs is None:
            return ["--json", "--", *self.inputs]
        return ["--json", "--pair", "--", *(text for both in zip(self.inputs, self.pairs, strict=True) for text in both)]


@cache
def text_model() -> PreTrainedModel:
    """Two layers of the pretrained MiniLM with a factorised word table, and a head that tells the texts apart."""
    whole = keep_positions(to_compact(minilm().model), MAX_LENGTH)
    model = factorise_embedding(keep_layers(whole, [1, 4]), 96)
    with torch.no_grad():
        model.classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
        logits = torch.cat([model(**batch).logits for batch in tokens(SINGLE)])
        model.classifier.bias -= logits.median(dim=0).values
    return model


def tokens(texts: list[str]) -> list[dict[str, torch.Tensor]]:
    tokenizer = minilm().tokenizer
    return [dict(tokenizer(text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")) for text in texts]


def plan_of(model: PreTrainedModel, precision: str) -> Plan:
    layers = quantizable_layers(model)
    if precision == "fp32":
        return Plan(layers=tuple(entries_of(model, dict.fromkeys(layers, "fp32"))))
    if precision == "int8":
        return uniform_plan(model, "test")
    linear = {name: module for name, module in layers.items() if layer_kind(module) == "linear"}
    ranges = {name: input_range(seen, "min_max") for name, seen in observe_inputs(model, tokens(SINGLE)).items()}
    scheme = INTEGERS[precision]
    return Plan(layers=tuple(scheme_layer(name, linear[name], scheme, input_range=ranges[name]) for name in linear))


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Request]:
    """A bundle for each case."""
    pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")
    from edgesmith.export import litert, onnxruntime

    exporters, folder = {"onnxruntime": onnxruntime, "litert": litert}, tmp_path_factory.mktemp("arm")
    images = [folder / f"{number}.png" for number in range(6)]
    for path, array in zip(images, noise_arrays(len(images)), strict=True):
        path.write_bytes(png(array))
    asked = {
        "single": (SINGLE, None),
        "pair": (list(SENTENCES), list(SECOND_SENTENCES)),
        "image": ([str(path) for path in images], None),
    }
    graphs, made = {}, {}
    for case in CASES:
        runtime, kind, precision = case
        exporter, is_image = exporters[runtime], kind == "image"
        model = tiny_compact_vit() if is_image else text_model()
        destination = folder / "-".join(case).replace(" ", "-")
        graph = folder / f"{kind}.{exporter.MODEL_NAME}"
        if graph not in graphs:
            exporter.export_graph(model, graph, max_length=25 if is_image else MAX_LENGTH, pairs=kind == "pair")
        graphs[graph] = True
        plan = plan_of(model, precision)
        artifact = exporter.lower(graph, plan, folder / exporter.MODEL_NAME)
        files = {exporter.MODEL_NAME: artifact.path}
        write_bundle(
            destination,
            files=files if is_image else files | {"tokenizer.json": minilm_folder() / "tokenizer.json"},
            runtime=runtime,
            task="image-classification" if is_image else "text-classification",
            model=exporter.MODEL_NAME,
            inputs=artifact.inputs,
            outputs=artifact.outputs,
            labels=tuple(model.config.id2label.values()),
            max_length=MAX_LENGTH,
            plan=plan,
            session={},
            metrics={},
            provenance={},
            preprocessing=PREPROCESSING if is_image else None,
        )
        made[case] = Request(destination, *asked[kind])
    return made
