"""Which model of the zoo, in which precision, for a task, a device and a latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

from edgesmith.analyze.analysis import ask, predict
from edgesmith.analyze.cost import parameters
from edgesmith.analyze.operators import Shape
from edgesmith.errors import RecipeError, UnsupportedError, choose_from
from edgesmith.records import METRICS_OF, QUESTION_TASK, VISION_ZOO, ZOO, Task
from edgesmith.records.analysis import Choice, Recommendation
from edgesmith.targets import CAPABILITIES, Target
from edgesmith.targets.profile import advice_for_unknown

IMAGE_TASK: Task = "image-classification"
"""That the vision zoo has models for; the zoo has them for all others."""

GLUE, SQUAD, TOP1 = "GLUE", "SQuAD F1", "ImageNet-1K top-1"

BEST_UTILISATION = 0.75
"""Of the roofline: the most that encoders on edge devices are reported to reach (arXiv:2601.03290). A floor that needs
more is possible, and no recommendation."""


def recommend(
    task: str,
    target: Target,
    max_latency_ms: float,
    *,
    length: int | None = None,
    unit: str | None = None,
    threads: int | None = None,
) -> Recommendation:
    """Every model and precision that could be meant, the best first.

    What meets the latency comes first, by published quality (unknown behind known), then by predicted latency; then what
    would have to come nearer to its floor than is reported of any; then what does not meet it, the fastest first.

    Args:
        length: of the texts in tokens.
        unit: of the device; None for its first.
        threads: cores that compute; None for all.

    Raises:
        RecipeError: an unknown task, unit or length, or a latency that is none.
        UnsupportedError: a device of which too little is known.
    """
    _check(task, target, max_latency_ms, unit)
    name = unit or target.main_unit
    metric, candidates = _candidates(task)
    precisions = _precisions(target, name)
    choices = [
        _choice(candidate, precision, target, name, max_latency_ms, length, threads)
        for candidate in candidates
        for precision in precisions
    ]
    ranked = sorted(_with_front(choices), key=_ranking(max_latency_ms))
    first = ask(candidates[0].shape, target, length=length)
    return Recommendation(
        task=task,
        target=target.name,
        unit=name,
        max_latency_ms=max_latency_ms,
        tokens=None if task == IMAGE_TASK else first.tokens,
        metric=metric,
        choices=tuple(ranked),
        notes=tuple(_notes(task, target, name, ranked)),
    )


@dataclass(frozen=True)
class _Candidate:
    """A model of a zoo, with its published quality for the task."""

    name: str
    shape: Shape
    quality: float | None


def _candidates(task: str) -> tuple[str, list[_Candidate]]:
    """The metric that qualities are published in, and the models for a task."""
    if task == IMAGE_TASK:
        return TOP1, [_Candidate(one.name, one.shape, one.top1) for one in VISION_ZOO.values()]
    if task == QUESTION_TASK:
        return SQUAD, [_Candidate(one.name, one.shape, one.published.squad_f1) for one in ZOO.values()]
    return GLUE, [_Candidate(one.name, one.shape, one.published.glue) for one in ZOO.values()]


def _check(task: str, target: Target, max_latency_ms: float, unit: str | None) -> None:
    if task not in METRICS_OF:
        raise RecipeError(choose_from("task", task, METRICS_OF))
    if not 0 < max_latency_ms < inf:
        raise RecipeError(f"max_latency_ms is {max_latency_ms:g}; allowed: a number above 0.")
    if target.unit(unit).precisions is None:
        raise UnsupportedError(
            f"nothing is known of {target.name!r} that a latency could be predicted from. "
            f"Type: {advice_for_unknown(target)}"
        )


def _precisions(target: Target, unit: str) -> Sequence[str]:
    """Of a CPU those that a runtime here computes linear layers in; of another unit, those it executes."""
    one = target.unit(unit)
    executed = list(one.precisions or ())
    if one.kind != "cpu":
        return executed
    computed = {
        row.computes for row in CAPABILITIES if row.kind == "linear" and row.runtime in target.runtimes
    }
    found = [each for each in executed if each in computed]
    if not found:
        raise UnsupportedError(
            f"{unit} of {target.name!r} executes {', '.join(executed)}; its runtimes, "
            f"{', '.join(target.runtimes) or 'none'}, compute in {', '.join(sorted(computed)) or 'nothing'}."
        )
    return found


def _choice(
    model: _Candidate,
    precision: str,
    target: Target,
    unit: str,
    max_latency_ms: float,
    length: int | None,
    threads: int | None,
) -> Choice:
    question = ask(model.shape, target, length=length, unit=unit, precision=precision, threads=threads)
    found = predict(question, unit, precision)
    latency = found.latency
    basis: Literal["floor", "expected", "none"] = (
        "expected" if found.expected else "floor" if found.floor else "none"
    )
    return Choice(
        model=model.name,
        precision=precision,
        unit=unit,
        quality=model.quality,
        parameters=parameters(model.shape),
        weight_bytes=found.weight_bytes,
        latency_ms=latency.value if latency else None,
        basis=basis,
        energy_mj=found.energy.value if found.energy else None,
        meets=latency.value <= max_latency_ms if latency else None,
        is_pareto=False,
        reasons=tuple(_reasons(latency.value if latency else None, basis, max_latency_ms)),
    )


def _reasons(latency_ms: float | None, basis: str, max_latency_ms: float) -> list[str]:
    if latency_ms is None:
        return ["nothing can be predicted"]
    times = max_latency_ms / latency_ms
    if basis == "floor":
        if times < 1:
            return [f"impossible: its floor is {1 / times:.3g} times the latency asked for"]
        if 1 / times > BEST_UTILISATION:
            return [
                f"unlikely: it takes {1 / times:.0%} of the roofline, and {BEST_UTILISATION:.0%} is the most reported"
            ]
        return [f"possible if a runtime reaches {1 / times:.0%} of the roofline"]
    if times < 1:
        return [f"too slow: {1 / times:.3g} times the latency asked for"]
    return [f"leaves {1 - 1 / times:.0%} of the time"]


def _with_front(choices: Sequence[Choice]) -> list[Choice]:
    """Marks what nothing dominates among what meets the latency, and says what dominates the others."""
    meeting = [one for one in choices if one.meets]
    marked = []
    for one in choices:
        if not one.meets:
            marked.append(one)
            continue
        better = [other for other in meeting if _dominates(other, one)]
        if one.quality is None:
            marked.append(replace(one, reasons=(*one.reasons, "no published quality to compare")))
        elif better:
            best = min(better, key=lambda other: (_lack(other), other.latency_ms or 0.0))
            reason = f"{best.model} in {best.precision} is as fast and as good, and better in one"
            marked.append(replace(one, reasons=(*one.reasons, reason)))
        else:
            marked.append(replace(one, is_pareto=True, reasons=(*one.reasons, "on the Pareto front")))
    return marked


def _dominates(other: Choice, one: Choice) -> bool:
    ours, theirs = (one.latency_ms or 0.0, _lack(one)), (other.latency_ms or 0.0, _lack(other))
    return theirs != ours and theirs[0] <= ours[0] and theirs[1] <= ours[1]


def _lack(one: Choice) -> float:
    """The less, the better its published quality; an unknown one lacks most."""
    return inf if one.quality is None else -one.quality


def _ranking(max_latency_ms: float) -> Callable[[Choice], tuple[int, float, float]]:
    """Likely, then unlikely by quality; then too slow, and unknown, by latency."""

    def rank(one: Choice) -> tuple[int, float, float]:
        if one.latency_ms is None:
            return (3, 0.0, _lack(one))
        if not one.meets:
            return (2, one.latency_ms, _lack(one))
        is_unlikely = one.basis == "floor" and one.latency_ms > BEST_UTILISATION * max_latency_ms
        return (int(is_unlikely), _lack(one), one.latency_ms)

    return rank


def _notes(task: str, target: Target, unit: str, ranked: Sequence[Choice]) -> list[str]:
    notes = []
    if task not in ("text-classification", QUESTION_TASK, IMAGE_TASK):
        notes.append(f"GLUE stands in for {task}: no figure of that task is tabulated for these models")
    if any(one.basis == "floor" for one in ranked):
        notes.append(
            "no rates were measured on the device, so latencies are floors: measure before you decide"
        )
    if target.unit(unit).kind != "cpu":
        notes.append(f"edgesmith writes no bundle for {unit} of {target.name!r} yet")
    if task == IMAGE_TASK:
        notes += [f"{one.name}: {one.weights}; top-1 {one.source}" for one in VISION_ZOO.values()]
        notes.append("MobileViT, EfficientFormer and EdgeFormer are not ranked: convolutions are not counted")
    else:
        notes.append("mobilebert and mobilebert-tiny are trained, pruned, exported and timed, not compressed")
    return notes
