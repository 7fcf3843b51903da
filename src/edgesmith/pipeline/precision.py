"""The quantize step of `compress`: what each layer's outputs suffer from each integer scheme, and the plans that follow.

A plan that misses the budget is trained. One that keeps it is not, whatever its divergence: the verdict is one of quality, and
a training would take time for what was not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import nn

from edgesmith.compress.quantize import (
    Divergence,
    executed,
    is_small_table,
    layer_kind,
    plan_layer,
    quantizable_layers,
    scheme_layer,
    weight_bytes,
)
from edgesmith.models import CompactEncoder
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench
from edgesmith.pipeline.qat import train_plan
from edgesmith.pipeline.runs import StepResult
from edgesmith.records import LayerPlan, Plan, PlanTraining, Scheme, read_json, write_json
from edgesmith.records.plan import BITS
from edgesmith.report.load import plan_name
from edgesmith.search.precision import Choice, assign_precision, verify_precision
from edgesmith.targets import uncalibrated_schemes

BATCH = 16

_TRAINING_NAME = "training.json"


def quantize(bench: Workbench, parent: Path, folder: Path) -> StepResult:
    """Measures every layer in every scheme, decides its precision on each runtime, and trains where that loses too much.

    What was trained for a runtime lies in `trained_folder`.
    """
    config, student = bench.recipe.quantize, bench.load_student(parent)
    validation = bench.student_validation_rows
    rows = validation.sample(config.calibration_rows, bench.recipe.seed)
    planner = _Planner(bench, student, Divergence(student, list(validation.batches(BATCH, rows))))
    facts, reasons = {}, []
    for runtime in bench.recipe.runtimes:
        plan, joint = planner.plan(runtime)
        write_json(folder / plan_name(runtime), plan)
        training = _recover(bench, student, plan, trained_folder(folder, runtime).parent)
        facts[runtime] = {"joint_divergence": joint, "layers": plan.counts(), "training": training}
        counts = ", ".join(f"{count} in {dtype.upper()}" for dtype, count in sorted(plan.counts().items()))
        reasons.append(f"{runtime}: {counts}; together KL {joint:.1e} nats on {len(rows)} validation rows")
        if training is not None:
            reasons.append(
                f"{runtime}: the plan lost {100 * training.before:.2f} points on validation rows, more than the budget, so it "
                f"was trained for {training.steps} steps: {100 * training.after:.2f} points"
                + ("" if training.is_kept else ", no less, and the weights stay as they were")
            )
    return StepResult({"runtimes": facts}, tuple(reasons))


def trained_folder(step: Path, runtime: str) -> Path:
    """Where the step left a student that was trained for a runtime; not there where none was."""
    return step / runtime / MODEL_FOLDER


def _recover(bench: Workbench, student: CompactEncoder, plan: Plan, folder: Path) -> PlanTraining | None:
    """Trains a plan that misses the budget on validation rows; else None."""
    config, rows, file = (
        bench.recipe.quantize.recovery,
        bench.student_validation_rows,
        folder / _TRAINING_NAME,
    )
    if file.is_file():
        return read_json(PlanTraining, file)  # before the step was stopped

    def loss(model: CompactEncoder) -> float:
        with executed(model, plan.layers):
            return bench.teacher_quality - bench.quality(bench.answers(model, rows), rows)

    if not config.epochs:
        return None
    lost = loss(student)
    if lost <= bench.recipe.budget.max_drop:
        return None
    found = train_plan(bench, student, plan, config, folder, before=lost, loss=loss, trimmed=True)
    write_json(file, found)
    return found


class _Planner:
    """A student's layers, and what each of them costs in each integer scheme that one of the runtimes has."""

    def __init__(self, bench: Workbench, student: CompactEncoder, divergence: Divergence) -> None:
        self._config, self._divergence = bench.recipe.quantize, divergence
        self._modules = quantizable_layers(student)
        self._layers = {name: module for name, module in self._modules.items() if not is_small_table(name)}
        self._alone: dict[str, dict[Scheme, float]] = {}
        bench.progress.start("measuring sensitivity", len(self._layers))
        for done, (name, module) in enumerate(self._layers.items(), 1):
            schemes = {
                scheme: None
                for runtime in bench.recipe.runtimes
                for scheme in uncalibrated_schemes(runtime, layer_kind(module))
            }
            self._alone[name] = {
                scheme: divergence([scheme_layer(name, module, scheme)]) for scheme in schemes
            }
            bench.progress.advance(done, name)
        bench.progress.finish()

    def plan(self, runtime: str) -> tuple[Plan, float]:
        """For one runtime, and the divergence of all its layers together in nats."""
        most = self._config.max_divergence
        options = {name: self._options(runtime, name, module) for name, module in self._layers.items()}
        chosen, joint = verify_precision(
            assign_precision(options, most),
            options,
            lambda kept: self._divergence(
                scheme_layer(name, self._layers[name], choice.scheme)
                for name, choice in kept.items()
                if choice.scheme.is_integer
            ),
            most,
        )
        return Plan(layers=tuple(self._entries(chosen, options))), joint

    def _options(self, runtime: str, name: str, module: nn.Linear | nn.Embedding) -> list[Choice]:
        """The higher precision, which costs nothing, and the runtime's integer schemes."""
        divergences = {Scheme(self._config.higher): 0.0} | {
            scheme: self._alone[name][scheme] for scheme in uncalibrated_schemes(runtime, layer_kind(module))
        }
        macs = module.weight.numel() if isinstance(module, nn.Linear) else 0  # of a token
        return [
            Choice(scheme, weight_bytes(module.weight, scheme), divergence, macs)
            for scheme, divergence in divergences.items()
        ]

    def _entries(
        self, chosen: Mapping[str, Choice], options: Mapping[str, list[Choice]]
    ) -> Iterator[LayerPlan]:
        for name, module in self._modules.items():
            if name not in chosen:
                yield plan_layer(name, module, "fp16", reason="a small table, read as it is; FP16 halves it")
                continue
            scheme = chosen[name].scheme
            told = chosen[name] if scheme.is_integer else max(options[name], key=_integer_bits)
            reason = f"KL {told.divergence:.1e} nats alone in {told.scheme.weight.upper()}" + (
                "" if scheme.is_integer else ": too sensitive for the budget"
            )
            yield scheme_layer(name, module, scheme, sensitivity=told.divergence, reason=reason)


def _integer_bits(choice: Choice) -> int:
    """0 for a floating-point weight."""
    return BITS[choice.scheme.weight] if choice.scheme.is_integer else 0
