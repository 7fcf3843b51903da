"""What makes an artifact unusable whatever its budget. Each guard returns sentences; none means that all is well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgesmith.measure.size import Sizes
from edgesmith.records import Latencies, LatencySample, LayerSensitivity, Plan
from edgesmith.runtime.judge import Answers

_NAMED = 5  # layers that a sentence names; a plan has up to hundreds

_MOST_VANISHED = 0.95
"""Share of values that may become 0. Of a GELU's outputs in static INT8 more than half may, without harm."""

_MASK = 9e3
"""Constants that hide padding, of which -1e4 is the smallest in use, are beyond it with a score added to them."""


def non_finite(logits: NDArray[np.floating]) -> list[str]:
    """NaN or infinity in the outputs, shape (n, classes)."""
    rows = int((~np.isfinite(logits)).any(axis=1).sum())
    return [f"{rows} of {len(logits)} rows have NaN or infinite outputs"] if rows else []


def collapsed(answers: Answers, truth: Answers) -> list[str]:
    """One answer everywhere, (n,), while the truth, (n,), has more."""
    given, wanted = np.unique(answers), np.unique(truth)
    if len(given) > 1 or len(wanted) < 2:
        return []
    told = f"{given[0]:g}" if np.issubdtype(given.dtype, np.number) else repr(str(given[0]))
    return [f"all {len(answers)} rows have the answer {told}; the labels have {len(wanted)} values"]


def low_agreement(agreement: float, floor: float) -> list[str]:
    """Less agreement with the teacher than the floor; both are 1 at best."""
    if agreement >= floor:
        return []
    return [
        f"agreement with the teacher is {100 * agreement:.1f} of 100, below the floor of {100 * floor:.1f}"
    ]


def slower_than_parent(artifact: LatencySample, parent: LatencySample) -> list[str]:
    """A p50 above that of the handed-in model in FP32 on the same runtime."""
    if artifact.p50 <= parent.p50:
        return []
    return [
        f"slower than its parent in FP32 on the same runtime: p50 {artifact.p50:.3g} ms against {parent.p50:.3g} ms"
    ]


def not_smaller_than_parent(sizes: Sizes) -> list[str]:
    """Weights and graph that take as many bytes as the handed-in model, or more."""
    if sizes.model < sizes.baseline:
        return []
    return [f"not smaller than its parent: {sizes.model:,} bytes against {sizes.baseline:,} bytes in FP32"]


def ignored_plan_entries(plan: Plan, stored: Mapping[str, str]) -> list[str]:
    """Layers whose weight the written file holds in another dtype than planned, or not at all.

    Args:
        stored: layer -> dtype of its weight as read back from the file.
    """
    wrong = [
        f"{entry.layer} (planned {entry.weight}, stored {stored.get(entry.layer, 'nowhere')})"
        for entry in plan.layers
        if stored.get(entry.layer) != entry.weight
    ]
    if not wrong:
        return []
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return [
        f"{len(wrong)} of {len(plan.layers)} plan entries were ignored: {', '.join(wrong[:_NAMED])}{more}"
    ]


def vanished(plan: Plan, found: Iterable[LayerSensitivity]) -> list[str]:
    """Integer layers of which nearly everything becomes 0, because a few values set the scale.

    Args:
        found: the layers as they were measured.
    """
    sentences = []
    measured = {layer.layer: layer for layer in found}
    for entry in plan.layers:
        layer = measured.get(entry.layer)
        if layer is None or not entry.scheme.is_integer:
            continue
        lost = layer.vanished_weights[entry.scheme.stored]
        if lost > _MOST_VANISHED:
            sentences.append(
                f"{lost:.1%} of the weights of {entry.layer} become 0 in {entry.scheme.stored}: outliers set the scale"
            )
        for side, ends, share in (
            ("inputs", entry.input_range, layer.vanished_inputs),
            ("outputs", entry.output_range, layer.vanished_outputs),
        ):
            if ends is not None and share > _MOST_VANISHED:
                low, high = ends
                is_mask = max(-low, high) >= _MASK
                sentences.append(
                    f"{share:.1%} of the {side} of {entry.layer} become 0 between {low:.3g} and {high:.3g}: "
                    + ("a constant of the attention mask reaches it" if is_mask else "outliers set the range")
                )
    return sentences


def run_guards(
    logits: NDArray[np.floating],
    answers: Answers,
    truth: Answers,
    *,
    agreement: float,
    min_agreement: float,
    sizes: Sizes,
    latencies: Latencies,
    plan: Plan,
    stored: Mapping[str, str],
) -> list[str]:
    """All guards, in the order in which a reader should mend them.

    Args:
        logits: the artifact's outputs, shape (n, classes).
        answers, truth: the single values of the same rows (`Judge.units`), shape (n,).
        agreement: with the teacher.
        min_agreement: its floor.
        latencies: with the samples ``artifact`` and ``fp32``.
        stored: layer -> dtype of its weight as read back from the written file.
    """
    return [
        *non_finite(logits),
        *collapsed(answers, truth),
        *low_agreement(agreement, min_agreement),
        *ignored_plan_entries(plan, stored),
        *not_smaller_than_parent(sizes),
        *slower_than_parent(latencies.samples["artifact"], latencies.samples["fp32"]),
    ]
