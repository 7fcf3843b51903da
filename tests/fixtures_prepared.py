"""What the tests of prepared ONNX files share: small models, their rows, and files with one thing changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import onnx
import pytest
from fixtures_images import random_pixels, tiny_compact_vit
from fixtures_models import LABELS, random_batch, tiny_compact
from onnx import numpy_helper
from transformers import PreTrainedModel

from edgesmith.compress.quantize import uniform_plan
from edgesmith.errors import ExportError
from edgesmith.export.onnx_rules import Rule, check_rules
from edgesmith.export.order import Order

LONGEST = 24
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def text_rows(lengths: Sequence[int]):
    """One a length, without padding."""
    batches = (random_batch((length,), seed=seed) for seed, length in enumerate(lengths))
    return tuple({name: batch[name].numpy() for name in NAMES} for batch in batches)


def text_order() -> tuple[PreTrainedModel, Order]:
    model = tiny_compact()
    return model, Order(
        plan=uniform_plan(model, "test"),
        task="text-classification",
        max_length=LONGEST,
        pairs=True,
        labels=LABELS,
        rows=text_rows((24, 9, 5, 21, 12, 3, 22, 17)),
    )


def image_order() -> tuple[PreTrainedModel, Order]:
    model = tiny_compact_vit()
    pixels = (random_pixels(1, (16, 12), seed=seed)["pixel_values"].numpy() for seed in range(8))
    return model, Order(
        plan=uniform_plan(model, "test"),
        task="image-classification",
        max_length=25,
        pairs=False,
        labels=tuple("abcde"),
        rows=tuple({"pixel_values": one} for one in pixels),
    )


def changed(file: Path, folder: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    """A copy of a file, its graph changed."""
    model = onnx.load(file)
    change(model.graph)
    onnx.save(model, folder / file.name)
    return folder / file.name


def node_of(graph: onnx.GraphProto, kind: str, *, end: str = "") -> onnx.NodeProto:
    """The first node of a kind, and of a name's end."""
    return next(node for node in graph.node if node.op_type == kind and node.name.endswith(end))


def set_constant(graph: onnx.GraphProto, name: str, value) -> None:
    """Another value for an initializer."""
    old = next(one for one in graph.initializer if one.name == name)
    old.CopyFrom(numpy_helper.from_array(value, name))


def check_is_named(path: Path, runtime: str, rules: Sequence[Rule], node: str, rule: str) -> None:
    """A file breaks a rule, a part of whose text is given: the error names the node, the rule and its source."""
    (source,) = (one.source for one in rules if rule in one.text)
    with pytest.raises(ExportError) as caught:
        check_rules(path, runtime, rules)
    assert re.search(f"{path.name} breaks .*{node}.*{re.escape(rule)}", str(caught.value)), str(caught.value)
    assert source in str(caught.value)


def untried(rules: Sequence[Rule], tried: Iterable[str]) -> list[str]:
    """Rules of which no part is among those that were tried."""
    parts = list(tried)
    return [rule.text for rule in rules if not any(part in rule.text for part in parts)]


def constant(graph: onnx.GraphProto, name: str):
    return numpy_helper.to_array(next(one for one in graph.initializer if one.name == name))
