"""What `edgesmith sensitivity` and `edgesmith quantize` measure of a model, each thing once.

Ranges come from training rows; what layers suffer from validation rows, since a teacher that knows its training rows by heart
is so sure of them that nothing seems to move it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from edgesmith.compress.migrate import migrate
from edgesmith.compress.quantize import Divergence, is_small_table, quantizable_layers
from edgesmith.compress.quantize_ranges import (
    Inputs,
    Range,
    input_range,
    observe_inputs,
    observe_outputs,
)
from edgesmith.compress.quantize_sensitivity import sensitivities
from edgesmith.data.encoding import EncodedRows, model_inputs
from edgesmith.models.device import prepare_torch
from edgesmith.models.families import check_has_compact_form
from edgesmith.pipeline.bench import Workbench, model_folder
from edgesmith.pipeline.tasks import open_finetuned
from edgesmith.recipe import PrecisionConfig, Recipe
from edgesmith.records import Progress, Scheme, Sensitivities
from edgesmith.records.plan import LayerKind
from edgesmith.targets import gives_integers, integer_schemes, scales_tokens

BATCH = 16


class Calibration:
    """A model, as its compact encoder, on the rows that it is measured on.

    Attributes:
        model: where the runtime has static layers, with the scales of their inputs migrated; not where it may be trained,
            since what was trained is saved as a plain model.
        per_token: dynamic inputs have one scale a token.
        layers: those that a plan decides: every linear layer, and every table but the small ones.
        small: tables that are read as they are.
        schemes: integer ones that the runtime has.
        wall_s: seconds of each stage so far.
    """

    def __init__(self, bench: Workbench, config: PrecisionConfig) -> None:
        self.bench, self.config = bench, config
        kinds: tuple[LayerKind, ...] = ("linear", "embedding")
        self.schemes: dict[LayerKind, list[Scheme]] = {
            kind: integer_schemes(config.runtime, kind) for kind in kinds
        }
        self.per_token = scales_tokens(config.runtime)
        is_static = any(scheme.activation == "static_int8" for scheme in self.schemes["linear"])
        migrates = is_static and not config.training.epochs
        self.model = migrate(bench.teacher, self.batches) if migrates else bench.teacher
        found = quantizable_layers(self.model)
        self.layers = {name: module for name, module in found.items() if not is_small_table(name)}
        self.small = {name: module for name, module in found.items() if is_small_table(name)}
        self.wall_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Books the time of a stage."""
        start = time.monotonic()
        yield
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.monotonic() - start

    @cached_property
    def _validation(self) -> tuple[list[int], list[int]]:
        """Validation examples that layers are measured on, and those that plans are tried on.

        The latter are others, unless fewer than the former are left: then they are drawn from all.
        """
        rows, config = self.bench.validation_rows, self.config
        drawn = rows.sample_examples(len(rows), self.bench.recipe.seed)
        measured, others = drawn[: config.calibration_rows], drawn[config.calibration_rows :]
        tried = others if len(others) >= len(measured) else drawn
        return sorted(measured), sorted(tried[: config.verification_rows])

    @cached_property
    def measured_rows(self) -> EncodedRows:
        """Validation rows on which the outputs of each layer's precision are compared."""
        return self._of_examples(self._validation[0])

    @cached_property
    def tried_rows(self) -> EncodedRows:
        """Validation rows on which plans are tried."""
        return self._of_examples(self._validation[1])

    @property
    def tries_others(self) -> bool:
        """Whether none of these is one of those."""
        measured, tried = self._validation
        return set(measured).isdisjoint(tried)

    def _of_examples(self, examples: list[int]) -> EncodedRows:
        groups = self.bench.validation_rows.rows_of_examples()
        return self.bench.validation_rows.take([row for example in examples for row in groups[example]])

    @cached_property
    def batches(self) -> list[dict[str, Tensor]]:
        """Of training rows, for ranges and MACs."""
        rows = self.bench.train_rows
        return list(rows.batches(BATCH, rows.sample(self.config.calibration_rows, self.bench.recipe.seed)))

    @cached_property
    def rows(self) -> int:
        """How many these are."""
        return sum(len(batch["row"]) for batch in self.batches)

    @cached_property
    def inputs(self) -> dict[str, Inputs]:
        """Of every linear layer."""
        with self.stage("ranges"):
            return observe_inputs(self.model, self.batches, self.bench.recipe.seed)

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """For static activations."""
        inputs = self.inputs
        with self.stage("ranges"):
            return {name: input_range(seen, self.config.observer) for name, seen in inputs.items()}

    @cached_property
    def outputs(self) -> dict[str, Inputs]:
        """Of every linear layer; none where the runtime's static layers do not give INT8."""
        if not gives_integers(self.config.runtime):
            return {}
        with self.stage("ranges"):
            return observe_outputs(self.model, self.batches, self.bench.recipe.seed)

    @cached_property
    def output_ranges(self) -> dict[str, Range]:
        outputs = self.outputs
        with self.stage("ranges"):
            return {name: input_range(seen, self.config.observer) for name, seen in outputs.items()}

    @cached_property
    def sensitivities(self) -> Sensitivities:
        progress, inputs, ranges = self.bench.progress, self.inputs, self.ranges
        outputs, output_ranges = self.outputs, self.output_ranges
        with self.stage("sensitivity"), torch.no_grad():
            progress.start("measuring sensitivity", len(self.layers))
            layers = sensitivities(
                self.model,
                Divergence(self.model, list(self.measured_rows.batches(BATCH)), per_token=self.per_token),
                self.schemes,
                inputs,
                ranges,
                self.rows,
                progress.advance,
                outputs=outputs,
                output_ranges=output_ranges,
            )
            progress.finish()
        return Sensitivities(
            model=self.bench.recipe.model,
            runtime=self.config.runtime,
            rows=len(self.measured_rows),
            range_rows=self.rows,
            observer=self.config.observer,
            layers=layers,
            wall_s=round(sum(self.wall_s.values()), 2),
        )

    @cached_property
    def macs(self) -> float:
        """Of a training row, in the mean, with those between activations, which no plan decides.

        The latter are counted with the padding of the batches, which rows of like length have little of.
        """
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            for batch in self.batches:
                self.model(**model_inputs(batch))
        padding = sum(
            self.layers[name].weight.numel() * (seen.computed - seen.positions)
            for name, seen in self.inputs.items()
        )
        return float((counter.get_total_flops() / 2 - padding) / self.rows)


def open_calibration(recipe: Recipe, config: PrecisionConfig, progress: Progress) -> Calibration:
    """Opens a model that is fine-tuned for its task, and the data.

    Raises:
        ModelError: the model cannot be loaded, or is not fine-tuned for the task.
        DataError: the data cannot be used.
        UnsupportedError: a family that is not known, or a task that the runtime does not take.
    """
    prepare_torch()
    start = time.monotonic()
    recipe = replace(recipe, runtimes=(config.runtime,))
    opened = open_finetuned(recipe, check_has_compact_form)
    for note in opened.modality.splits.notes:
        progress.say(note)
    bench = Workbench(recipe, opened.modality, opened.model, model_folder(recipe.model), progress)
    found = Calibration(bench, config)
    found.wall_s["opening"] = time.monotonic() - start
    return found
