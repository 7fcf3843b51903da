"""How each runtime opens the artifact: on this machine its settings are tried, elsewhere it has the defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesmith.export import exporter
from edgesmith.measure.settings import SettingsTrial, settings_text, try_settings
from edgesmith.pipeline.artifacts import answer_with_runtime, feeds_of_examples, run_each
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.built import Built
from edgesmith.pipeline.runs import StepResult
from edgesmith.report.units import agreement, points, times
from edgesmith.runtime.judge import Answers
from edgesmith.runtime.predictor import SESSIONS, open_session
from edgesmith.runtime.settings import Settings

INPUTS = 16
"""Validation rows that settings are timed on, at most; they are of all lengths."""

LEAST_AGREEMENT = 0.99
"""With the answers under the defaults."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How an artifact is opened, and what it then reaches on validation rows.

    Attributes:
        settings: of the session, beside its threads.
    """

    settings: dict[str, int | str]
    quality: float
    drop: float


def default_setup(built: Built, runtime: str) -> Setup:
    """As the export was weighed."""
    facts = built.exports[runtime][0].facts
    return Setup(settings={}, quality=facts["quality"], drop=facts["drop"])


def choose_setups(bench: Workbench, built: Built, folder: Path) -> StepResult:
    """Tries the settings that each runtime has, on validation rows."""
    facts, reasons = {}, []
    for runtime in built.exports:
        setup, trials = _Choice(bench, built, runtime).make()
        facts[runtime] = {"setup": setup, "trials": trials}
        reasons += [f"{runtime}, {_told(trial)}" for trial in trials] or [f"{runtime} has no settings to try"]
    return StepResult({"runtimes": facts}, tuple(reasons))


class _Choice:
    """Of one runtime's settings."""

    def __init__(self, bench: Workbench, built: Built, runtime: str) -> None:
        self.bench, self.runtime, self.default = bench, runtime, default_setup(built, runtime)
        self.file = built.exports[runtime][1] / exporter(runtime).MODEL_NAME
        self.rows = bench.student_validation_rows
        self.answers: dict[str, Answers] = {}

    def make(self) -> tuple[Setup, tuple[SettingsTrial, ...]]:
        """The setup, and what was tried."""
        candidates, config = SESSIONS[self.runtime].candidates, self.bench.recipe.validate
        if not candidates:
            return self.default, ()
        self.bench.progress.say(f"timing {len(candidates)} settings of {self.runtime}")
        timed = self.rows.sample_examples(min(INPUTS, config.inputs), self.bench.recipe.seed)
        trials = try_settings(
            candidates,
            self._open,
            feeds_of_examples(self.rows, timed),
            self._objection,
            rounds=config.rounds,
            seed=self.bench.recipe.seed,
        )
        kept = next((trial.settings for trial in trials if trial.is_kept), None)
        return (self.default if kept is None else self._setup(kept)), trials

    def _open(self, settings: Settings) -> Callable[[Any], object]:
        threads = self.bench.recipe.validate.threads
        return run_each(open_session(self.runtime, self.file, threads=threads, settings=settings).run)

    def _answer(self, settings: Settings) -> Answers:
        """(N,) to the validation rows."""
        name = settings_text(settings)
        if name not in self.answers:
            title = f"validating through {self.runtime}, {name or 'defaults'}"
            self.answers[name] = answer_with_runtime(
                self.bench, self.runtime, self.file, self.rows, title, settings=settings
            )
        return self.answers[name]

    def _setup(self, settings: Settings) -> Setup:
        quality = self.bench.quality(self._answer(settings), self.rows)
        return Setup(settings=dict(settings), quality=quality, drop=self.bench.teacher_quality - quality)

    def _objection(self, settings: Settings) -> str | None:
        """Answers that are not those of the defaults, or a drop that only they keep inside the budget."""
        judge, drop = self.bench.judge, self._setup(settings).drop
        same = judge.agreement(self._answer(settings), self._answer({}))
        if same < LEAST_AGREEMENT:
            return f"agreement with the defaults {agreement(same, judge.metric)} on validation rows"
        if drop > max(self.default.drop, self.bench.recipe.budget.max_drop):
            return f"drop {points(drop)} on validation rows, {points(self.default.drop)} with the defaults"
        return None


def _told(trial: SettingsTrial) -> str:
    told = settings_text(trial.settings)
    if trial.ratio is not None:
        told += f": p50 {times(trial.ratio)} of that with the defaults"
    if trial.low is not None and trial.high is not None:
        told += f" (95 % {times(trial.low)} to {times(trial.high)})"
    return f"{told}; {trial.decision}"
