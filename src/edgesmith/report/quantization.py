"""What each layer's precision costs, and the plan that was made of it, as tables and as pages of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgesmith.records import (
    NO_NUMBER,
    LayerPlan,
    PlanTraining,
    PlanTrial,
    Quantization,
    Sensitivities,
    write_text,
)
from edgesmith.report.facts import NONE, Table
from edgesmith.report.markdown import escape, render_table
from edgesmith.report.plots.precision import sensitivities
from edgesmith.report.plots.svg import style
from edgesmith.report.prediction import standalone
from edgesmith.report.units import agreement, counted, megabytes, nats, percent, points, times

_INPUTS = {
    "static_int8": "INT8, range known beforehand",
    "dynamic_int8": "INT8, range found as they arrive",
    "none": "floating point",
}


def sensitivity_table(found: Sensitivities) -> Table:
    """A row a layer, a column for each way to store its weight and to take its inputs; the most sensitive stand out."""
    weights = _keys(layer.weights for layer in found.layers)
    activations = _keys(layer.activations for layer in found.layers)
    macs = sum(layer.macs for layer in found.layers)
    parameters = sum(layer.parameters for layer in found.layers)
    return Table(
        title=f"What quantization costs each layer of {found.model}",
        columns=(
            "layer",
            "of parameters",
            "of MACs",
            *(f"weights {key.replace('_', ' ')}" for key in weights),
            *(f"inputs {key.replace('_', ' ')}" for key in activations),
        ),
        align="lrr" + "r" * (len(weights) + len(activations)),
        rows=tuple(
            (
                layer.layer,
                percent(layer.parameters / parameters),
                percent(layer.macs / macs),
                *(_nats(layer.weights.get(key)) for key in weights),
                *(_nats(layer.activations.get(key)) for key in activations),
            )
            for layer in found.layers
        ),
        notes=(
            f"mean KL divergence in nats to the outputs in FP32, one part of one layer at a time, on "
            f"{counted(found.rows, 'validation row')}, without their labels",
            f"weights as {found.runtime} stores them; static inputs INT8 in a range chosen by {found.observer} on "
            f"{counted(found.range_rows, 'training row')}",
            "of an embedding table there are weights alone; MACs: of these layers",
        ),
    )


def quantization_tables(found: Quantization) -> Iterator[Table]:
    """The result, the plans that were tried, and every layer with its reason."""
    yield _result(found)
    yield Table(
        title="Plans that were tried",
        columns=("", "KL, summed", "predicted", "lost", "raised before it"),
        align="rrrrl",
        rows=tuple(_trial_row(number, trial) for number, trial in enumerate(found.trials, 1)),
        notes=(
            f"in PyTorch, on {counted(found.tried_rows, 'validation row')}, {_whose(found)}; at most "
            f"{counted(found.max_trials, 'plan')}, and none after the first that keeps {points(found.max_drop)}",
        ),
    )
    if found.training is not None:
        yield _training(found.training)
    yield Table(
        title="Where MACs run",
        columns=("inputs", "of MACs"),
        align="lr",
        rows=tuple((_INPUTS[kind], percent(share)) for kind, share in found.macs.items()),
        notes=("MACs between activations, of scores and their values, stay in floating point",),
    )
    yield _plan(found)


def write_sensitivity(found: Sensitivities, folder: Path, name: str) -> None:
    """Writes the page as ``NAME.md``, and its plot as ``NAME.svg`` beside it."""
    with style():
        plot = sensitivities(found)
    write_text(folder / f"{name}.svg", standalone(plot))
    figure = f"![{escape(plot.title)}]({name}.svg)\n\n{escape(plot.caption)}"
    write_text(folder / f"{name}.md", sensitivity_page(found, figure))


def sensitivity_page(found: Sensitivities, figure: str = "") -> str:
    """Markdown.

    Args:
        figure: Markdown that shows the plot.
    """
    parts = ("# Sensitivity", figure, render_table(sensitivity_table(found), level=2))
    return "\n\n".join(part for part in parts if part) + "\n"


def quantization_page(found: Quantization) -> str:
    """Markdown: the verdict, what is not met, and the tables."""
    failures = "\n".join(f"- {escape(failure)}" for failure in found.failures)
    parts = (
        f"# {'PASS' if found.passed else 'FAIL'}",
        f"## Not met\n\n{failures}" if failures else "",
        *(render_table(table, level=2) for table in quantization_tables(found)),
        render_table(sensitivity_table(found.sensitivities), level=2),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _result(found: Quantization) -> Table:
    low, high = found.drop_ci95
    sqnr = "equal" if found.sqnr_db is None else f"{found.sqnr_db:.1f} dB"
    kind = "a plan for each layer" if found.uniform is None else f"every layer {found.uniform}"
    return Table(
        title=f"{found.model} on {found.runtime}: {kind}",
        columns=("", "as it came, FP32", "quantized"),
        align="lrr",
        rows=(
            (found.metric, f"{found.reference:.4f}", f"{found.quality:.4f}"),
            ("lost", NONE, f"{points(found.drop)} ({points(low)} to {points(high)})"),
            ("same answers", NONE, agreement(found.agreement, found.metric)),
            ("weights and graph", megabytes(found.baseline_bytes), megabytes(found.bytes)),
            ("smaller", NONE, times(found.baseline_bytes / found.bytes)),
            ("logits against PyTorch", NONE, sqnr),
            *_predicted(found),
        ),
        notes=(
            f"on {counted(found.validation_rows, 'validation row')}, through the runtime; with its 95 % interval",
            "the file was read back: every weight has the dtype, the scales and the inputs of the plan",
        ),
    )


def _whose(found: Quantization) -> str:
    if found.tries_others:
        return "others than those that layers were measured on"
    return "with those that layers were measured on, since there are too few others"


def _training(found: PlanTraining) -> Table:
    """What training the best plan changed."""
    told = "the trained weights are in the file" if found.is_kept else "the weights that came are in the file"
    return Table(
        title="Training the plan",
        columns=("", "lost"),
        align="lr",
        rows=(
            ("the best plan", f"{100 * found.before:.2f} points"),
            ("after training it", f"{100 * found.after:.2f} points"),
        ),
        notes=(
            f"on the rows on which plans were tried, in PyTorch; {told}",
            f"{found.epochs:g} epochs of {counted(found.rows, 'training row')}, {counted(found.steps, 'step')}, "
            f"{found.wall_s:.0f} s",
        ),
    )


def _predicted(found: Quantization) -> Iterator[tuple[str, ...]]:
    if found.fp32_predicted_ms is not None and found.predicted_ms is not None:
        yield (
            f"ms on {found.target}, predicted",
            f"{found.fp32_predicted_ms:.2f}",
            f"{found.predicted_ms:.2f}",
        )


def _plan(found: Quantization) -> Table:
    macs = {layer.layer: layer.macs for layer in found.sensitivities.layers}
    total = sum(macs.values())
    return Table(
        title="The plan",
        columns=("layer", "precision", "of MACs", "why"),
        align="llrl",
        rows=tuple(_plan_row(entry, macs.get(entry.layer, 0.0) / total) for entry in found.plan.layers),
        notes=(
            "int8, int4: weights; static, dynamic: inputs in INT8; per block: a scale for 32 values",
            "KL in nats, of this layer alone; MACs: of these layers",
        ),
    )


def _plan_row(entry: LayerPlan, share: float) -> tuple[str, ...]:
    precision = str(entry.scheme).replace("_", " ")
    return entry.layer, precision, percent(share) if share else NONE, entry.reason


def _trial_row(number: int, trial: PlanTrial) -> tuple[str, ...]:
    lost = f"{100 * trial.drop:.2f} points"
    return str(number), nats(trial.divergence), megabytes(trial.bytes), lost, trial.raised or NONE


def _keys(parts: Iterable[dict[str, float]]) -> Sequence[str]:
    """In the order in which they are met."""
    return list(dict.fromkeys(key for part in parts for key in part))


def _nats(divergence: float | None) -> str:
    if divergence is None:
        return NONE
    return "no number" if divergence >= NO_NUMBER else nats(divergence)
