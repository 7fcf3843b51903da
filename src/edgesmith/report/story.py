"""What the run did, step by step, and what each step left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgesmith.records import StepRecord
from edgesmith.report.facts import NONE, Table
from edgesmith.report.load import VALIDATE_STEP, Run
from edgesmith.report.units import counted, megabytes, milliseconds, points, score

TRIAL, BASELINE, SEED, GENERAL = "trial-", "baseline-", "seed-", "general-"
"""How the folders of a trial, of the teacher's own files, of a fine-tuned teacher and of a general stage start."""

_KINDS_BY_PREFIX = {TRIAL: "trial", BASELINE: "baseline", GENERAL: "general"}

KINDS = {
    "finetune": ("Fine-tune", "The model learns the task; what results is the teacher."),
    "teacher": ("Ask the teacher", "Its answers, written down for all students to learn from."),
    "vocabulary": ("Try a vocabulary", "What a student loses on words that no training text holds."),
    "analyze": ("Analyze", "Where the teacher's parameters lie, and what smaller structures would cost."),
    "trial": ("Try", "A short training shows what a structure can keep, before one is built in full."),
    "general": ("Teach", "On texts without labels, a student learns what an encoder computes inside."),
    "distill": ("Distil", "A student of fewer layers learns the teacher's answers and hidden states."),
    "prune": (
        "Prune",
        "The heads, neurons and embeddings that matter least go; the teacher's answers make up for the loss.",
    ),
    "quantize": ("Quantize", "Each layer's weights are rounded as far as its measured sensitivity allows."),
    "export": ("Export", "The model becomes a file of the device's runtime, which is read back and checked."),
    "settings": (
        "Choose settings",
        "What the runtime is told when it opens the file, timed on validation rows.",
    ),
    "baseline": ("Export", "The teacher becomes a file of the same runtime too, to be compared with."),
    "validate": ("Validate", "The finished bundle against the teacher, on rows that no decision has seen."),
}
"""Kind of step -> its verb, and what such a step does."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One step in plain words.

    Attributes:
        purpose: what a step of this kind does.
        reasons: what was chosen or found here.
    """

    title: str
    folder: str
    purpose: str
    reasons: tuple[str, ...]
    wall_s: float


def story(run: Run) -> list[Chapter]:
    """The steps in the order in which they were done."""
    names = [candidate.name for candidate in run.candidates]

    def turn(folder: str) -> tuple[str, bool, bool, int, str, bool]:
        """Trials, from the cheapest, come before what was then built; the artifact's export before the teacher's.

        A general stage comes before the stage on the task that goes on from it.
        """
        step, _, name = folder.partition("/")
        candidate = name.removeprefix(TRIAL)
        rank = names.index(candidate) if candidate in names else 0
        task = name.removeprefix(GENERAL)
        return step, not name.startswith(TRIAL), name.startswith(BASELINE), rank, task, task == name

    return [_chapter(run, folder) for folder in sorted(run.steps, key=turn)]


def _chapter(run: Run, folder: str) -> Chapter:
    record, name = run.steps[folder], folder.partition("/")[2]
    kind = next((kind for prefix, kind in _KINDS_BY_PREFIX.items() if name.startswith(prefix)), record.step)
    verb, purpose = KINDS.get(kind, (kind.capitalize(), ""))
    subject = "the teacher" if kind == "analyze" else _subject(run, name)
    return Chapter(
        title=f"{verb} {subject}".strip(),
        folder=folder,
        purpose=purpose,
        reasons=(*record.reasons, *_trial_result(kind, record)) or ("no choice was to be made",),
        wall_s=record.wall_s,
    )


def _subject(run: Run, name: str) -> str:
    """``trial-tiny`` -> ``tiny``, ``2-layers`` -> ``2 layers``, ``baseline-litert`` -> ``the teacher for litert``.

    ``general-2-layers`` -> ``2 layers in general``.

    ``seed-0``, of a teacher that was fine-tuned -> ``the teacher from seed 0``.
    """
    if name.startswith(SEED):
        return f"the teacher from {name.replace('-', ' ')}"
    for runtime in run.recipe.runtimes:
        if name.endswith(f"-{runtime}"):
            return f"{_subject(run, name.removesuffix(f'-{runtime}'))} for {runtime}"
    if name.startswith(GENERAL):
        return f"{name.removeprefix(GENERAL).replace('-', ' ')} in general"
    return "the teacher" if name == BASELINE.rstrip("-") else name.removeprefix(TRIAL).replace("-", " ")


def _trial_result(kind: str, record: StepRecord) -> tuple[str, ...]:
    if kind != "trial" or "drop" not in record.facts:
        return ()
    return (f"drop on validation rows after the trial: {points(record.facts['drop'])}",)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The model after a step; every number was measured, and None says that it was not.

    Attributes:
        size_bytes: of the file that holds the weights.
        quality: on validation rows.
        p50_ms: in the interleaved run.
    """

    name: str
    size_bytes: int | None
    quality: float | None
    p50_ms: float | None = None


def stages(run: Run) -> list[Stage]:
    """From the teacher to the artifact, in the steps of the chosen candidate."""
    verdict, samples = run.verdict, run.latencies.samples
    teacher = Stage(
        name="teacher, FP32",
        size_bytes=verdict.baseline_size_bytes,
        quality=run.teacher_validation_quality,
        p50_ms=samples["fp32"].p50,
    )
    artifact = Stage(
        name="artifact",
        size_bytes=verdict.model_size_bytes,
        quality=run.teacher_validation_quality - verdict.validation_drop,
        p50_ms=samples["artifact"].p50,
    )
    return [teacher, *_between(run), artifact]


def _between(run: Run) -> Iterator[Stage]:
    chosen = next((candidate for candidate in run.candidates if candidate.chosen), None)
    if chosen is None:
        return
    layers = counted(chosen.structure.depth, "layer")
    folders = {
        f"02-distill/{chosen.structure.depth}-layers": f"distilled to {layers}",
        f"03-prune/{chosen.name}": "pruned and recovered",
    }
    for folder, name in folders.items():
        if folder in run.steps:
            quality = run.steps[folder].facts.get("quality")
            yield Stage(name=name, size_bytes=run.weight_bytes.get(folder), quality=quality)


def path(run: Run) -> Table:
    """What each step left."""
    rows = tuple(
        (
            stage.name,
            NONE if stage.size_bytes is None else megabytes(stage.size_bytes),
            NONE if stage.quality is None else score(stage.quality, run.verdict.metric),
            NONE if stage.p50_ms is None else milliseconds(stage.p50_ms),
        )
        for stage in stages(run)
    )
    return Table(
        title="Step by step",
        columns=("model", "size", f"validation {run.verdict.metric}", "p50"),
        align="lrrr",
        rows=rows,
        notes=(
            f"All measured; models between are FP32 in PyTorch and were not timed. {run.verdict.metric.capitalize()} on "
            f"validation rows, which decisions were made on; {VALIDATE_STEP} alone uses the test rows.",
        ),
    )
