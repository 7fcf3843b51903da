"""Which settings a session is the fastest with: each is timed beside none, and the fastest stays whose answers do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesmith.errors import BundleError
from edgesmith.measure.latency import time_passes
from edgesmith.measure.series import MOST_OPENINGS, Estimate, Series, ratio_of_medians
from edgesmith.runtime.settings import Settings

LEAST_GAIN = 0.03
"""Of the latency: for less, no setting is changed."""

Run = Callable[[Any], object]
"""Answers one input and returns when the answer is there."""

_DEFAULTS = ""


def settings_text(settings: Settings) -> str:
    """As reports have it: ``ENABLE_CPU_PINNING=NO``."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


@dataclass(frozen=True, kw_only=True)
class SettingsTrial:
    """Settings that were tried.

    Attributes:
        decision: what became of them, in words.
        ratio: p50 with them over p50 without, same inputs in turns; None where the runtime refused them.
        low, high: of its 95 % interval, over openings of the file; None where there are too few observations.
        is_kept: whether the artifact is opened with them.
    """

    settings: dict[str, int | str]
    decision: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    is_kept: bool = False


def try_settings(
    candidates: Sequence[Settings],
    open_with: Callable[[Settings], Run],
    inputs: Sequence[Any],
    objection: Callable[[Settings], str | None],
    *,
    rounds: int,
    seed: int = 0,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[SettingsTrial, ...]:
    """Times a file under each of some settings and under none; at most one is kept.

    What is `LEAST_GAIN` faster is measured a second time, alone beside none, because the fastest of several is also the
    luckiest; the second figure counts, and its whole interval has to be on the fast side.

    Args:
        open_with: opens the file; no settings are the defaults.
        inputs: encoded, of validation rows.
        objection: why answers under settings cannot be taken, None where they can; asked of the faster ones only.
        rounds, seed, clock: of `edgesmith.measure.latency.time_passes`; the rounds are spread over at most `MOST_OPENINGS`
            openings of the file.

    Returns:
        The trials, the fastest first.
    """
    usable, refused = _usable(candidates, open_with)

    def compare(several: Sequence[Settings], seed: int) -> dict[str, Estimate]:
        names = {settings_text(settings): settings for settings in ({}, *several)}
        parts: dict[str, list[Series]] = {name: [] for name in names}
        openings = min(MOST_OPENINGS, rounds)
        for opening in range(openings):
            order = list(names) if opening % 2 else list(names)[::-1]
            runs = {name: open_with(names[name]) for name in order}
            timed, _ = time_passes(
                runs,
                dict.fromkeys(runs, inputs),
                rounds=math.ceil(rounds / openings),
                warmup=1,
                seed=seed + opening,
                clock=clock,
            )
            for name, values in timed.items():
                parts[name].append(values.ravel())  # (rounds of this opening * inputs,)
        opening_of = np.repeat(np.arange(openings), len(parts[_DEFAULTS][0]))
        series = {name: np.concatenate(values) for name, values in parts.items()}
        return {
            name: ratio_of_medians(series[name], series[_DEFAULTS], opening_of)
            for name in map(settings_text, several)
        }

    first = compare(usable, seed) if usable else {}
    trials: list[SettingsTrial] = []
    for settings in sorted(usable, key=lambda each: first[settings_text(each)].value):
        name = settings_text(settings)
        if any(trial.is_kept for trial in trials):
            trials.append(_trial(settings, first[name], "another is faster"))
        elif first[name].value > 1 - LEAST_GAIN:
            trials.append(_trial(settings, first[name], f"saves less than {100 * LEAST_GAIN:g} %"))
        else:
            again = compare([settings], seed + MOST_OPENINGS)[name]
            trials.append(_trial(settings, again, _doubt(again) or objection(settings)))
    return (*trials, *refused)


def _usable(
    candidates: Sequence[Settings], open_with: Callable[[Settings], Run]
) -> tuple[list[Settings], list[SettingsTrial]]:
    """Those that the runtime takes, and those that it refuses."""
    usable, refused = [], []
    for settings in candidates:
        try:
            open_with(settings)
        except BundleError as problem:
            refused.append(SettingsTrial(settings=dict(settings), decision=f"refused: {problem}"))
        else:
            usable.append(settings)
    return usable, refused


def _trial(settings: Settings, found: Estimate, reason: str | None) -> SettingsTrial:
    """Kept, or left for a reason."""
    return SettingsTrial(
        settings=dict(settings),
        decision=f"left: {reason}" if reason else "kept",
        ratio=found.value,
        low=found.low,
        high=found.high,
        is_kept=not reason,
    )


def _doubt(found: Estimate) -> str | None:
    """Why a gain may be none."""
    if found.high is None:
        return "too few observations; raise validate.inputs or validate.rounds"
    if found.value > 1 - LEAST_GAIN or found.high >= 1:
        return "its gain did not show again"
    return None
