"""A training of one model, as a table."""

from __future__ import annotations

from edgesmith.records import Training
from edgesmith.report.facts import NONE, Table
from edgesmith.report.units import percent


def training_table(training: Training) -> Table:
    """What the model reaches and costs, beside its teacher."""
    points = None if training.teacher_quality is None else 100 * (training.teacher_quality - training.quality)
    rows = [
        (training.metric, f"{training.quality:.4f}", _number(training.teacher_quality, ".4f"), NONE if points is None else f"{points:.2f} points lost"),
        _cost_row("parameters", training.parameters, training.teacher_parameters),
        _cost_row("MACs", training.macs, training.teacher_macs),
    ]  # fmt: skip
    notes = [f"{training.metric} on {training.validation_rows:,} validation rows; {training.start}"]
    if training.general_loss is not None:
        notes.append(f"the general stage ended at a loss of {training.general_loss:.4f} on texts held out")
    notes += [
        f"MACs of the encoder at {training.tokens} tokens",
        f"{training.folder} opens with {training.model_class}.from_pretrained"
        + (" after `import edgesmith.models`" if training.model_class.startswith("Compact") else ""),
    ]
    return Table(
        title=f"{'Distilled' if training.teacher else 'Fine-tuned'} {training.model}",
        columns=("", "model", "teacher", "left"),
        align="lrrr",
        rows=tuple(rows),
        notes=tuple(notes),
    )


def _number(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def _cost_row(name: str, own: int, teacher: int | None) -> tuple[str, ...]:
    return name, f"{own:,}", _number(teacher, ","), NONE if teacher is None else percent(own / teacher)
