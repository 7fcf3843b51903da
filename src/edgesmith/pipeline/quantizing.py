"""`edgesmith sensitivity` and `edgesmith quantize`: what each layer's precision costs, and the plan that follows from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesmith.compress.distill import predict_logits
from edgesmith.compress.quantize import executed, layer_kind, plan_layer, scheme_layer, weight_bytes
from edgesmith.errors import BudgetError, UnsupportedError
from edgesmith.export import exporter
from edgesmith.measure.guards import collapsed, ignored_plan_entries, low_agreement, non_finite, vanished
from edgesmith.measure.parity import sqnr_db
from edgesmith.measure.quality import PairedQuality, compare
from edgesmith.measure.size import fp32_safetensors_bytes, model_bytes
from edgesmith.models import CompactEncoder
from edgesmith.pipeline.artifacts import PARITY_ROWS, export_checked, logits_with_runtime
from edgesmith.pipeline.bench import MODEL_FOLDER, model_folder
from edgesmith.pipeline.built import bundle_model
from edgesmith.pipeline.folder import appearing, check_is_free
from edgesmith.pipeline.prediction import latency_model
from edgesmith.pipeline.qat import train_plan
from edgesmith.pipeline.runs import RunFolder, StepResult, base_key, locked
from edgesmith.pipeline.sensitivity import Calibration, open_calibration
from edgesmith.recipe import PrecisionConfig, Recipe, UniformScheme
from edgesmith.records import (
    LayerPlan,
    LayerSensitivity,
    Plan,
    PlanTraining,
    PlanTrial,
    Progress,
    Quantization,
    Scheme,
    Sensitivities,
    from_dict,
    graph_files,
    model_files,
    to_dict,
    write_json,
    write_text,
)
from edgesmith.records.plan import Activation, LayerKind, WeightDtype
from edgesmith.report.quantization import quantization_page, write_sensitivity
from edgesmith.report.units import megabytes, nats, percent, points
from edgesmith.runtime.judge import Answers
from edgesmith.search.precision import Choice, Latency, Limits, Trial, try_plans

SENSITIVITY_NAME, QUANTIZATION_NAME = "sensitivity", "quantization"
"""Stems of what is left in the folder, as JSON and as Markdown."""

NODE_BYTES = 2_500
"""Names, constants and nodes that quantization adds to a file for a layer, at most."""

_ZERO_POINT_BYTES = {"litert": 7}
"""Of a channel, beyond the one byte that `weight_bytes` counts: LiteRT's schema has zero points of 64 bits."""

_UNIFORM: dict[UniformScheme, dict[LayerKind, Scheme]] = {
    "fp32": {"linear": Scheme("fp32"), "embedding": Scheme("fp32")},
    "fp16": {"linear": Scheme("fp16"), "embedding": Scheme("fp16")},
    "int8-dynamic": {"linear": Scheme("int8", activation="dynamic_int8"), "embedding": Scheme("int8")},
    "int8-static": {"linear": Scheme("int8", activation="static_int8"), "embedding": Scheme("int8")},
    "int4": {
        "linear": Scheme("int4", "per_block", "dynamic_int8"),
        "embedding": Scheme("int4", "per_block"),
    },
}


def sensitivity(
    recipe: Recipe, config: PrecisionConfig, out: Path | None, progress: Progress
) -> Sensitivities:
    """Measures what the outputs suffer when one layer's weights, inputs or embeddings are quantized.

    Args:
        recipe: of it only the model, the task, the data and the seed count.
        out: folder for the table as Markdown and JSON; None for none.

    Raises:
        RecipeError: `out` holds something.
        ModelError, DataError, UnsupportedError: as `open_calibration`.
    """
    if out is not None:
        check_is_free(out)
    found = open_calibration(recipe, config, progress).sensitivities
    if out is not None:
        with appearing(out) as folder:
            write_json(folder / f"{SENSITIVITY_NAME}.json", found)
            write_sensitivity(found, folder, SENSITIVITY_NAME)
    return found


def quantize(recipe: Recipe, config: PrecisionConfig, out: Path, progress: Progress) -> Quantization:
    """Finds a precision for every layer, writes the file for one runtime, reads it back, and holds it against the limits.

    Where `config.training` asks for it and no plan keeps the drop, the best one is trained. A training that was stopped goes
    on when this is called again with the same arguments.

    Args:
        recipe: of it the model, the task, the metric, the data, the largest drop, the largest latency on the target, which is
            predicted, and the seed count.
        out: folder for the bundle and the report; must not exist, or be empty.

    Raises:
        BudgetError: no plan keeps the limits.
        UnsupportedError: a latency is asked for, and none can be predicted on the target.
        RecipeError: `out` holds something.
        ExportError: the file does not compute what the model does, or does not hold the plan.
        StepError: the training's loss became infinite or NaN.
        ModelError, DataError, UnsupportedError: as `open_calibration`.
    """
    check_is_free(out)
    run = _Run(open_calibration(recipe, config, progress), out.with_name(f".{out.name}.training"))
    with appearing(out) as folder:
        found = run.quantize(folder, out)
        write_json(folder / f"{QUANTIZATION_NAME}.json", found)
        write_text(folder / f"{QUANTIZATION_NAME}.md", quantization_page(found))
    shutil.rmtree(run.scratch, ignore_errors=True)
    return found


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A plan in a runtime's file, and what the file answered.

    Attributes:
        logits: of all validation rows.
    """

    plan: Plan
    file: Path
    artifact: Any
    logits: NDArray[np.float32]
    answers: Answers
    quality: PairedQuality


class _Run:
    """The way from sensitivities to a bundle.

    Args:
        scratch: folder that a training works in, kept until the whole is done.

    Attributes:
        model: that is quantized: the one that came, or after the training of its plan.
    """

    def __init__(self, calibration: Calibration, scratch: Path) -> None:
        self.calibration, self.config, self.bench = calibration, calibration.config, calibration.bench
        self.model, self.scratch = calibration.model, scratch
        self.runtime, self.judge = self.config.runtime, self.bench.judge
        self.max_drop = self.bench.recipe.budget.max_drop
        self.baseline = fp32_safetensors_bytes(self.bench.teacher_folder)
        self.max_bytes = self.config.max_bytes or round(self.config.max_share * self.baseline)
        self.latency = self._latency()
        self.folded: frozenset[str] = frozenset()

    def quantize(self, folder: Path, out: Path) -> Quantization:
        """Plans, writes and proves.

        Args:
            folder: to work in, where the bundle stays.
            out: what it is called afterwards.
        """
        measured = self.calibration.sensitivities
        graph = (folder / exporter(self.runtime).MODEL_NAME).with_stem("graph")
        self._export(graph)
        fixed = self._fixed_bytes(graph)
        if self.runtime == "litert":
            self.folded = exporter(self.runtime).folded_layers(graph)
        with self.calibration.stage("plan"):
            trials = self._trials(fixed)
        best = _best(trials, self.max_drop)
        plan, training = self._plan(best.chosen), None
        if self.config.training.epochs and best.loss > self.max_drop:
            training = self._train(plan, best.loss, folder / MODEL_FOLDER)
            if training.is_kept:
                _remove(graph_files(graph))
                self._export(graph)
        written = self._write(graph, folder, plan)
        self._bundle(written, folder / "bundle" / self.runtime)
        size, macs = model_bytes(written.file), self._macs(best.chosen)
        _remove(model_files(written.file))
        failures = (*self._guards(written), *self._missed(written.quality.drop, size, macs))
        return Quantization(
            model=self.bench.recipe.model,
            runtime=self.runtime,
            uniform=self.config.uniform,
            folder=str(out),
            bundle=f"bundle/{self.runtime}",
            metric=self.judge.metric,
            validation_rows=len(written.answers),
            reference=written.quality.teacher,
            quality=written.quality.artifact,
            drop=written.quality.drop,
            drop_ci95=written.quality.drop_ci95,
            max_drop=self.max_drop,
            agreement=written.quality.agreement,
            passed=not failures,
            failures=failures,
            plan=written.plan,
            sensitivities=measured,
            trials=tuple(_told(trial, fixed) for trial in trials),
            max_trials=self.config.max_trials,
            tried_rows=len(self.calibration.tried_rows.truth),
            tries_others=self.calibration.tries_others,
            macs=macs,
            int8_macs=self.config.int8_macs if self.config.uniform else self._int8_macs,
            static_macs=self.config.static_macs,
            target=self.bench.recipe.target if self.latency else None,
            fp32_predicted_ms=self.latency.fp32_ms if self.latency else None,
            predicted_ms=self._predicted_ms(best.chosen),
            baseline_bytes=self.baseline,
            max_bytes=self.max_bytes,
            bytes=size,
            sqnr_db=self._sqnr(written),
            training=training,
            wall_s={name: round(seconds, 2) for name, seconds in self.calibration.wall_s.items()},
        )

    # ---- the plan

    @cached_property
    def _measured(self) -> dict[str, LayerSensitivity]:
        return {layer.layer: layer for layer in self.calibration.sensitivities.layers}

    @property
    def _small(self) -> WeightDtype:
        """What small tables are kept in."""
        return "fp32" if self.config.uniform == "fp32" else "fp16"

    def _fixed_bytes(self, graph: Path) -> int:
        """Of the file, whatever the plan: nodes, biases, norms and the small tables."""
        layers, small = self.calibration.layers, self.calibration.small
        matrices = 4 * sum(module.weight.numel() for module in (*layers.values(), *small.values()))
        kept = sum(weight_bytes(module.weight, Scheme(self._small)) for module in small.values())
        zeros = _ZERO_POINT_BYTES.get(self.runtime, 0) * sum(len(module.weight) for module in layers.values())
        return model_bytes(graph) - matrices + kept + zeros + NODE_BYTES * len(layers)

    def _trials(self, fixed: int) -> list[Trial]:
        """The plans that are tried; one where it is uniform."""
        options = {name: self._choices(name) for name in self.calibration.layers}
        if self.config.uniform is not None:
            chosen = {name: choices[0] for name, choices in options.items()}
            return [Trial(chosen, self._loss_of(chosen))]
        macs = self.calibration.macs
        limits = Limits(
            bytes=self.max_bytes - fixed,
            int8_macs=self._int8_macs * macs,
            static_macs=self.config.static_macs * macs,
        )
        trials = try_plans(options, limits, self._loss_of, self.max_drop, self.config.max_trials)
        if not trials:
            raise BudgetError(self._impossible(options, fixed))
        return trials

    def _latency(self) -> Latency | None:
        """Predicted for the target, at the mean length of the validation rows; None where it is not limited.

        Raises:
            BudgetError: no precision is predicted to be fast enough.
        """
        recipe, lengths = self.bench.recipe, self.bench.validation_rows.lengths
        limit_ms, shape = recipe.budget.max_latency_ms, self.bench.teacher_shape
        if limit_ms is None:
            return None
        latency_ms = latency_model(recipe, round(sum(lengths) / len(lengths)))
        found = Latency(
            fp32_ms=latency_ms(shape, "fp32"), int8_ms=latency_ms(shape, "int8"), limit_ms=limit_ms
        )
        if found.least_share is None:
            raise BudgetError(
                f"no plan is predicted to answer in {limit_ms:g} ms on {recipe.target}: in FP32 {found.fp32_ms:.3g} ms, with "
                f"every linear layer in INT8 {found.int8_ms:.3g} ms. Prune the model first, or type: --max-latency "
                f"{ceil(100 * found.int8_ms) / 100:g}ms"
            )
        return found

    @cached_property
    def _linear_macs(self) -> float:
        return sum(layer.macs for layer in self._measured.values())

    @property
    def _int8_macs(self) -> float:
        """Least share of all MACs on INT8 inputs: what is asked for, or what the latency needs."""
        share = self.latency.least_share if self.latency else None
        return max(self.config.int8_macs, (share or 0.0) * self._linear_macs / self.calibration.macs)

    def _predicted_ms(self, chosen: Mapping[str, Choice]) -> float | None:
        if self.latency is None:
            return None
        return self.latency.at(sum(choice.int8_macs for choice in chosen.values()) / self._linear_macs)

    def _choices(self, name: str) -> list[Choice]:
        module, measured = self.calibration.layers[name], self._measured[name]
        kind = layer_kind(module)
        if self.config.uniform is None:
            schemes = [Scheme(self.config.higher), *self.calibration.schemes[kind]]
            if name in self.folded:
                schemes = [scheme for scheme in schemes if scheme.activation != "static_int8"]
        else:
            schemes = [self._uniform_scheme(self.config.uniform, kind)]
        return [
            Choice(scheme, weight_bytes(module.weight, scheme), measured.under(scheme), measured.macs)
            for scheme in schemes
        ]

    def _uniform_scheme(self, name: UniformScheme, kind: LayerKind) -> Scheme:
        """The runtime's; tables, of which it has fewer, take the nearest."""
        wanted, possible = _UNIFORM[name][kind], self.calibration.schemes[kind]
        if not wanted.is_integer:
            return wanted
        nearest = min(
            possible,
            key=lambda one: (
                one.weight != wanted.weight,
                one.activation != wanted.activation,
                one.granularity != wanted.granularity,
            ),
        )
        if kind == "linear" and (nearest.weight, nearest.activation) != (wanted.weight, wanted.activation):
            has = ", ".join(map(str, possible))
            raise UnsupportedError(f"{self.runtime} cannot execute {wanted}. It can execute: {has}.")
        return nearest

    def _impossible(self, options: Mapping[str, Sequence[Choice]], fixed: int) -> str:
        least = fixed + sum(min(choice.bytes for choice in several) for several in options.values())
        reach = {
            name: sum(max(getattr(choice, name) for choice in several) for several in options.values())
            / self.calibration.macs
            for name in ("int8_macs", "static_macs")
        }
        return (
            f"no plan takes at most {megabytes(self.max_bytes)} with {percent(self._int8_macs)} of the MACs on INT8 "
            f"inputs, {percent(self.config.static_macs)} on static ones. Each by itself, {self.runtime} reaches "
            f"{megabytes(least)}, {percent(reach['int8_macs'])} and {percent(reach['static_macs'])}. "
            f"Type: --size {least / self.baseline:.0%} or more, or smaller shares."
        )

    @cached_property
    def _tried_reference(self) -> float:
        return self._tried_quality(self.model)

    def _tried_quality(self, model: CompactEncoder) -> float:
        rows = self.calibration.tried_rows
        return self.bench.quality(self.bench.answers(model, rows), rows)

    def _loss(self, plan: Plan, model: CompactEncoder) -> float:
        """Of quality, in PyTorch."""
        reference = self._tried_reference
        with executed(model, plan.layers, per_token=self.calibration.per_token):
            return reference - self._tried_quality(model)

    def _loss_of(self, chosen: Mapping[str, Choice]) -> float:
        """The same of a choice for each layer of the model that came."""
        return self._loss(self._plan(chosen), self.calibration.model)

    def _plan(self, chosen: Mapping[str, Choice]) -> Plan:
        return Plan(layers=tuple(self._entries(chosen)))

    def _entries(self, chosen: Mapping[str, Choice]) -> Iterator[LayerPlan]:
        for name, module in self.calibration.layers.items():
            scheme, measured = chosen[name].scheme, self._measured[name]
            yield scheme_layer(
                name,
                module,
                scheme,
                input_range=self.calibration.ranges.get(name),
                output_range=self.calibration.output_ranges.get(name),
                sensitivity=measured.under(scheme),
                reason=_reason(scheme, measured),
            )
        for name, module in self.calibration.small.items():
            yield plan_layer(name, module, self._small, reason="a small table, read as it is")

    def _train(self, plan: Plan, lost: float, destination: Path) -> PlanTraining:
        """Trains the model under the plan; where it then loses less, it is quantized from now on, and lies in `destination`."""
        bench, recipe = self.bench, self.bench.recipe
        key = base_key(
            model_folder(recipe.model),
            bench.splits.fingerprint,
            recipe.seed,
            {"task": recipe.task, "metric": recipe.metric, "max_length": recipe.data.max_length},
        )
        bench.progress.say(
            f"the best plan loses {points(lost)}, more than {points(self.max_drop)}, so it is trained"
        )

        def work(folder: Path) -> StepResult:
            config, loss = self.config.training, partial(self._loss, plan)
            found = train_plan(
                bench, self.model, plan, config, folder,
                before=lost, loss=loss, trimmed=False, per_token=self.calibration.per_token,
            )  # fmt: skip
            return StepResult(to_dict(found))

        with self.calibration.stage("training"), locked(self.scratch):
            layers = [(entry.layer, str(entry.scheme), entry.input_range) for entry in plan.layers]
            config = {"training": self.config.training, "plan": layers}
            record, path = RunFolder(self.scratch, key).step("01-training", config=config, work=work)
            found = from_dict(PlanTraining, record.facts)
            if found.is_kept:
                self.model = bench.load_student(path / MODEL_FOLDER)
                shutil.copytree(path / MODEL_FOLDER, destination)
        return found

    def _macs(self, chosen: Mapping[str, Choice]) -> dict[str, float]:
        """Share of all MACs by what the inputs are; those between activations are ``none``."""
        shares: dict[Activation, float] = {"static_int8": 0.0, "dynamic_int8": 0.0, "none": 0.0}
        for choice in chosen.values():
            shares[choice.scheme.activation] += choice.macs / self.calibration.macs
        shares["none"] = 1 - shares["static_int8"] - shares["dynamic_int8"]
        return {name: round(share, 6) for name, share in shares.items()}

    # ---- the proof

    def _export(self, graph: Path) -> None:
        """Writes the model in FP32."""
        with self.calibration.stage("export"):
            export_checked(self.bench, self.runtime, self.model, self.bench.validation_rows, graph)

    def _write(self, graph: Path, folder: Path, plan: Plan) -> _Written:
        """Lowers, reads back, and answers every validation row through the runtime."""
        writer = exporter(self.runtime)
        file = folder / writer.MODEL_NAME
        with self.calibration.stage("export"):
            artifact = writer.lower(graph, plan, file)
        _remove(graph_files(graph))
        rows, recipe = self.bench.validation_rows, self.bench.recipe
        with self.calibration.stage("validation"):
            title = f"validating through {self.runtime}"
            logits = logits_with_runtime(self.bench, self.runtime, file, rows, title)
        answers = rows.answers(logits, self.judge)
        quality = compare(
            self.bench.teacher_validation,
            answers,
            rows.truth,
            judge=self.judge,
            resamples=recipe.validate.resamples,
            seed=recipe.seed,
            clusters=self.bench.modality.clusters(self.bench.splits.validation),
        )
        return _Written(
            plan=plan, file=file, artifact=artifact, logits=logits, answers=answers, quality=quality
        )

    def _bundle(self, written: _Written, destination: Path) -> None:
        quality, artifact = written.quality, written.artifact
        destination.parent.mkdir(exist_ok=True)
        bundle_model(
            self.bench,
            self.runtime,
            written.file,
            destination,
            files=self.bench.modality.bundle_files(trimmed=False),
            inputs=artifact.inputs,
            outputs=artifact.outputs,
            plan=written.plan,
            metrics={
                f"validation_{self.judge.metric}": quality.artifact,
                "validation_drop": quality.drop,
            },
            provenance={},
        )

    def _guards(self, written: _Written) -> Iterator[str]:
        truth = self.bench.validation_rows.truth
        yield from non_finite(written.logits.reshape(len(written.logits), -1))
        yield from collapsed(self.judge.units(written.answers), self.judge.units(truth))
        yield from low_agreement(written.quality.agreement, self.bench.recipe.validate.min_agreement)
        yield from vanished(written.plan, self.calibration.sensitivities.layers)
        yield from ignored_plan_entries(written.plan, written.artifact.stored)

    def _missed(self, drop: float, size: int, macs: Mapping[str, float]) -> Iterator[str]:
        """Limits that the file does not keep; a uniform one is held to the drop alone."""
        if drop > self.max_drop:
            yield f"lost {points(drop)} of {self.judge.metric} on validation rows; allowed: {points(self.max_drop)}"
        if self.config.uniform is None and size > self.max_bytes:
            yield f"takes {megabytes(size)}; allowed: {megabytes(self.max_bytes)}"

    def _sqnr(self, written: _Written) -> float | None:
        """Of the file's logits against those of the same plan in PyTorch, a row at a time."""
        rows = list(range(min(PARITY_ROWS, len(written.logits))))
        sample = self.bench.validation_rows.take(rows)
        with executed(self.model, written.plan.layers, per_token=self.calibration.per_token):
            wanted = predict_logits(self.model, sample, batch_size=1).numpy()
        return sqnr_db(wanted, written.logits[rows][:, : wanted.shape[1]])


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
        part.unlink()


def _best(trials: Sequence[Trial], max_drop: float) -> Trial:
    """The first inside the drop, else the one that loses least."""
    inside = (trial for trial in trials if trial.loss <= max_drop)
    return next(inside, min(trials, key=lambda trial: trial.loss))


def _told(trial: Trial, fixed: int) -> PlanTrial:
    return PlanTrial(
        divergence=trial.divergence, bytes=fixed + trial.bytes, drop=trial.loss, raised=trial.raised
    )


def _reason(scheme: Scheme, measured: LayerSensitivity) -> str:
    """What the layer loses so, and why its inputs are not static where they are not."""
    told = f"KL {nats(measured.under(scheme))} nats alone"
    if scheme.activation != "static_int8" and "static" in measured.activations:
        told += f"; static inputs alone would cost {nats(measured.activations['static'])}"
    if not scheme.is_integer and measured.weights:
        best = min(measured.weights, key=lambda stored: measured.weights[stored])
        told += f"; in {best} its weights alone cost {nats(measured.weights[best])}"
    return told
