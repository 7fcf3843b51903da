"""Calibration rows of a finished run, and its plan with static inputs for runtimes that have no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from edgesmith.compress.quantize import Divergence
from edgesmith.compress.quantize_ranges import Range, input_range, observe_inputs
from edgesmith.data import (
    ImageExamples,
    TextExamples,
    load_image_splits,
    load_question_splits,
    load_splits,
    load_tagged_splits,
)
from edgesmith.export.order import Feeds
from edgesmith.recipe import DataConfig
from edgesmith.records import QUESTION_TASK, SCORED_TASK, TAGGED_TASK, LayerPlan, Plan, Task
from edgesmith.runtime.bundle import Bundle
from edgesmith.runtime.load import encoder_of

ROWS = 64

MARGIN, FLOOR = 2.0, 1e-3
"""The static plan may diverge twice as much as the plan it is made of, or 0.001 nats: a probability of 0.5 then moves by
0.022 (KL = 2 d^2)."""


def calibration_rows(bundle: Bundle, data: DataConfig, seed: int) -> tuple[Feeds, ...]:
    """At most `ROWS` training rows as the bundle's model reads them, each a batch of one.

    Raises:
        DataError: the data cannot be read.
    """
    manifest = bundle.manifest
    examples = _training_examples(manifest.task, data, seed)
    chosen = examples.take(np.random.default_rng(seed).permutation(len(examples))[:ROWS])
    inputs: Sequence[Any]
    if isinstance(chosen, ImageExamples):
        inputs, pairs = chosen.images, None
    else:
        inputs, pairs = chosen.texts, chosen.pairs
    encoder, names = encoder_of(bundle), {spec.name for spec in manifest.inputs}
    rows = (encoder.encode([one], pairs and [pairs[i]]) for i, one in enumerate(inputs))
    return tuple({name: value for name, value in row.items() if name in names} for row in rows)


def _training_examples(task: Task, data: DataConfig, seed: int) -> TextExamples | ImageExamples:
    if task == "image-classification":
        return load_image_splits(data, seed).train
    if task == TAGGED_TASK:
        return load_tagged_splits(data, seed).train
    if task == QUESTION_TASK:
        return load_question_splits(data, seed).train
    return load_splits(data, seed, scores=task == SCORED_TASK).train


def static_plan(model: PreTrainedModel, plan: Plan, rows: Sequence[Feeds]) -> Plan:
    """The plan with symmetric static inputs wherever a linear layer has integer weights, all integers INT8.

    As few layers as possible become FP16 instead, those first that alone move the outputs most, until the outputs on the
    rows diverge no more than `MARGIN` times as much as under the plan itself.
    """
    batches = [{name: torch.from_numpy(value) for name, value in row.items()} for row in rows]
    divergence = Divergence(model, batches)
    limit = max(MARGIN * divergence(plan.layers), FLOOR)
    seen = observe_inputs(model, batches)
    entries = {
        entry.layer: _static(
            entry, input_range(seen[entry.layer], "min_max") if entry.layer in seen else None
        )
        for entry in plan.layers
    }
    static = [entry for entry in entries.values() if entry.activation == "static_int8"]
    alone = {entry.layer: divergence([entry]) for entry in static}
    order = sorted(alone, key=lambda layer: -alone[layer])

    def with_fp16(count: int) -> Plan:
        kept = set(order[:count])
        return Plan(layers=tuple(_as_fp16(e, alone) if e.layer in kept else e for e in entries.values()))

    low, high = 0, len(order)  # divergence falls with the number of layers in FP16
    while low < high:
        middle = (low + high) // 2
        if divergence(with_fp16(middle).layers) <= limit:
            high = middle
        else:
            low = middle + 1
    return with_fp16(low)


def _static(entry: LayerPlan, seen: Range | None) -> LayerPlan:
    if not entry.scheme.is_integer:
        return entry
    if entry.kind == "embedding" or seen is None:
        return replace(entry, weight="int8", granularity="per_channel", activation="none", input_range=None)
    end = max(map(abs, seen))
    return replace(
        entry, weight="int8", granularity="per_channel", activation="static_int8", input_range=(-end, end)
    )


def _as_fp16(entry: LayerPlan, alone: dict[str, float]) -> LayerPlan:
    return replace(
        entry,
        weight="fp16",
        activation="none",
        input_range=None,
        reason=f"static inputs alone would cost {alone[entry.layer]:.2g} nats",
    )


def changes(plan: Plan, made: Plan) -> dict[str, str]:
    """Layer -> what became of its entry, in words, where it changed."""
    return {
        old.layer: f"{old.scheme} -> {new.scheme}"
        for old, new in zip(plan.layers, made.layers, strict=True)
        if not new.scheme.agrees_with(old.scheme)
    }
