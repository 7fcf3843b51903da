"""The runtimes: what an artifact is made for, and what a device installs to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

RuntimeName = Literal["onnxruntime", "litert", "openvino", "executorch"]

RUNTIME_NAMES: tuple[RuntimeName, ...] = get_args(RuntimeName)

DISTRIBUTION_OF: dict[str, str] = {
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "openvino": "openvino",
    "executorch": "executorch",
}
"""The package that runs an artifact. A device needs it, numpy and what reads the inputs, and `NEEDED_BESIDE`."""

NEEDED_BESIDE: dict[str, tuple[str, ...]] = {"executorch": ("torch",)}
"""Packages that a runtime's own cannot do without and does not bring: ExecuTorch's links against torch's libraries."""

TESTED_VERSIONS: dict[str, str] = {
    "numpy": ">= 2.0, < 2.4",
    "tokenizers": ">= 0.22, < 1",
    "pillow": ">= 10.1",
    "onnxruntime": ">= 1.22, < 2",
    "ai-edge-litert": ">= 2.3, < 2.4",
    "openvino": ">= 2026.4, < 2027",
    "executorch": ">= 1.5.1, < 1.6",
    "torch": ">= 2.9, < 3",
}
"""Package that a device needs -> its versions, those of pyproject.toml; a test compares them."""

_WEIGHTS_BESIDE = {".xml": ".bin"}
"""Ending of a model's file -> that of its weights, in formats that keep them apart: OpenVINO's."""

_PROGRAM_BESIDE = {".pte": ".pt2"}
"""Ending of an FP32 graph -> that of PyTorch's program, which `lower` starts from where the graph itself cannot be changed."""


def device_packages(runtime: str, task: str) -> tuple[str, ...]:
    """What a device installs to run bundles of a runtime and a task: numpy, what reads the inputs, and the runtime."""
    reader = "pillow" if task == "image-classification" else "tokenizers"
    return ("numpy", reader, DISTRIBUTION_OF[runtime], *NEEDED_BESIDE.get(runtime, ()))


def model_files(model: Path) -> tuple[Path, ...]:
    """The files that a model consists of: its own and, where the weights lie beside it, theirs."""
    weights = _WEIGHTS_BESIDE.get(model.suffix)
    return (model,) if weights is None else (model, model.with_suffix(weights))


def graph_files(graph: Path) -> tuple[Path, ...]:
    """The files that an exporter's `export_graph` writes: those of the model, and what `lower` starts from beside them."""
    program = _PROGRAM_BESIDE.get(graph.suffix)
    return model_files(graph) if program is None else (*model_files(graph), graph.with_suffix(program))
