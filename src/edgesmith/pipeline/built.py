"""Candidates that were built in full: which is handed over, why, and its bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgesmith import __version__
from edgesmith.export import exporter
from edgesmith.export.bundle import write_bundle
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.runs import digest
from edgesmith.records import Candidate, Plan, StepRecord, TensorSpec, from_dict, model_files, read_json
from edgesmith.report.load import plan_name
from edgesmith.runtime.settings import THREADS_SETTING, Settings
from edgesmith.search.groups import GroupLoss
from edgesmith.search.structure import cost


@dataclass(frozen=True, kw_only=True)
class Built:
    """A candidate that went through steps 2 to 5.

    Attributes:
        plans: folder of its precision plans, one a runtime.
        exports: of each runtime, the record and the folder of its export.
    """

    candidate: Candidate
    plans: Path
    exports: dict[str, tuple[StepRecord, Path]]

    def drop_on(self, runtime: str) -> float:
        """On validation rows, through the runtime."""
        return float(self.exports[runtime][0].facts["drop"])

    @property
    def best_runtime(self) -> str:
        """The one that loses least."""
        return min(self.exports, key=self.drop_on)

    @property
    def drop(self) -> float:
        """On validation rows, through the best runtime."""
        return self.drop_on(self.best_runtime)

    @property
    def longest(self) -> GroupLoss | None:
        """Of the longest quarter of these rows, likewise; None where there are too few."""
        facts = self.exports[self.best_runtime][0].facts["longest"]
        return None if facts is None else from_dict(GroupLoss, facts)

    def keeps(self, max_drop: float) -> bool:
        """Whether the drop is inside the budget, and that of the longest rows not over it by more than a standard error.

        But for rounding: 0.91 - 0.9 is a little more than 0.01.
        """
        if self.longest and self.longest.exceeds(max_drop):
            return False
        return self.drop <= max_drop or math.isclose(self.drop, max_drop)

    @property
    def story(self) -> str:
        """What it lost, in words."""
        change = "lost" if self.drop >= 0 else "gained"
        rows = f"{self.exports[self.best_runtime][0].facts['rows']:,} validation rows"
        told = f"built: {change} {100 * abs(self.drop):.2f} points on {rows}"
        if self.longest is None:
            return told
        longest = self.longest
        return f"{told} ({100 * longest.mean:.2f} on the {longest.rows:,} longest, standard error {100 * longest.error:.2f})"


def best_of(built: Sequence[Built], max_drop: float) -> Built:
    """The cheapest that keeps the drop, else the one that loses least."""
    inside = [one for one in built if one.keeps(max_drop)]
    return min(inside, key=lambda one: cost(one.candidate), default=min(built, key=lambda one: one.drop))


def explain(candidates: Sequence[Candidate], built: Sequence[Built], best: Built) -> list[Candidate]:
    """All candidates in their order, each with what became of it."""
    results = {one.candidate.name: one.candidate for one in built}
    rows = []
    for candidate in candidates:
        row = results.get(candidate.name, candidate)
        if row.name == best.candidate.name:
            row = replace(row, chosen=True, decision=f"chosen; {row.decision}")
        elif not row.decision:
            reason = "tried, and not built: another was expected to keep the budget at less cost"
            row = replace(row, decision=reason)
        rows.append(row)
    return rows


def bundle_candidate(
    bench: Workbench,
    built: Built,
    runtime: str,
    destination: Path,
    *,
    settings: Settings,
    metrics: Mapping[str, float],
) -> None:
    """Writes the folder that goes on the device, in place of an older one."""
    export, folder = built.exports[runtime]
    facts, model = export.facts, exporter(runtime).MODEL_NAME
    bundle_model(
        bench,
        runtime,
        folder / model,
        destination,
        files=bench.modality.bundle_files(),
        inputs=[from_dict(TensorSpec, spec) for spec in facts["inputs"]],
        outputs=[from_dict(TensorSpec, spec) for spec in facts["outputs"]],
        plan=read_json(Plan, built.plans / plan_name(runtime)),
        metrics=metrics,
        settings=settings,
        provenance={"export_key": export.key},
    )


def bundle_model(
    bench: Workbench,
    runtime: str,
    model: Path,
    destination: Path,
    *,
    files: Mapping[str, str],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    plan: Plan,
    metrics: Mapping[str, float],
    provenance: Mapping[str, str],
    settings: Settings | None = None,
) -> None:
    """Writes a bundle around a runtime's file.

    Args:
        files: name -> content of what reads inputs.
        inputs, outputs, plan, metrics: as in `edgesmith.records.Manifest`.
        provenance: beside the origin of model and data.
        settings: of the session, beside its threads.
    """
    recipe = bench.recipe
    write_bundle(
        destination,
        files={**{part.name: part for part in model_files(model)}, **files},
        runtime=runtime,
        task=recipe.task,
        model=model.name,
        inputs=inputs,
        outputs=outputs,
        labels=bench.splits.label_names,
        max_length=bench.modality.max_length,
        preprocessing=bench.modality.preprocessing,
        plan=plan,
        session={THREADS_SETTING: recipe.validate.threads, **(settings or {})},
        metrics=metrics,
        provenance={
            "edgesmith": __version__,
            "model": recipe.model if recipe.tokenizer is None else f"{recipe.model}, from random weights",
            "data": bench.splits.fingerprint,
            **provenance,
            "recipe": digest(str(recipe)),
        },
    )
