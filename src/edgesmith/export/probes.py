"""Small models of one kind of operator each, to find out how fast a runtime executes it on a machine.

Each is a chain behind a small table: what a runtime spends on one call is spent once, and what it spends on an operator
shows in its rate. They go through the exporters as encoders of texts do, so that rates are those of what these write.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.export import exporter
from edgesmith.records import KernelKind, LayerPlan, Plan

HEADS = 6
"""Of a probe of attention; time is proportional to them."""

VOCABULARY = 4


class Probe(nn.Module):
    """A chain of equal links over (B, S, width), which a table makes of ids (B, S)."""

    main_input_name = "input_ids"

    def __init__(self, width: int, links: list[nn.Module]) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, width)
        self.links = nn.ModuleList(links)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        value = self.table(input_ids) * attention_mask[..., None]
        for link in self.links:
            value = link(value)
        return SimpleNamespace(logits=value)


class _Linear(nn.Module):
    """A linear layer and a residual, so that converters see one layer behind the other, as a model has them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, value: Tensor) -> Tensor:
        summed: Tensor = value + self.linear(value)
        return summed


class _Attention(nn.Module):
    """Attention between its linear layers; the three vectors keep queries, keys and values apart."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.apart = nn.Parameter(torch.randn(3, HEADS * head_dim))

    def forward(self, value: Tensor) -> Tensor:
        query, key, read = (
            (value + vector).unflatten(-1, (HEADS, self.head_dim)).transpose(1, 2) for vector in self.apart
        )  # (B, heads, S, head_dim)
        scores = query @ key.transpose(2, 3) * self.head_dim**-0.5
        mixed: Tensor = scores.softmax(-1) @ read
        return mixed.transpose(1, 2).flatten(2)


class _Sum(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value + value


_LINKS: dict[KernelKind, Callable[[int], nn.Module]] = {
    "linear": _Linear,
    "products": _Attention,
    "norm": nn.LayerNorm,
    "activation": lambda _: nn.GELU(),
}


def probe(kind: KernelKind, width: int, links: int) -> Probe:
    """Square linear layers with a residual, attention (`width` is that of a head), norms, or activations."""
    torch.manual_seed(0)
    across = HEADS * width if kind == "products" else width
    return Probe(across, [_LINKS[kind](width) for _ in range(links)])


def nothing(links: int) -> Probe:
    """Sums of single numbers: what it takes is overhead."""
    return Probe(1, [_Sum() for _ in range(links)])


def write(model: Any, runtime: str, path: Path, *, rows: int) -> None:
    """Writes a probe in FP32 for a runtime.

    Args:
        rows: tokens, at most.

    Raises:
        MissingExtraError: the runtime's extra is not installed.
    """
    fixed = {"is_fixed": True} if runtime == "litert" else {}  # whose shapes are static
    exporter(runtime).export_graph(model.eval(), path, max_length=rows, pairs=False, **fixed)


def lower(model: Any, runtime: str, graph: Path, path: Path) -> None:
    """Writes what `write` wrote in INT8, as models are lowered: weights per channel, activations as they arrive."""
    exporter(runtime).lower(graph, _int8_plan(model), path)


def _int8_plan(model: Probe) -> Plan:
    """INT8 in every linear layer."""
    return Plan(
        layers=tuple(
            LayerPlan(layer=name, kind="linear", weight="int8", activation="dynamic_int8")
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear)
        )
    )
