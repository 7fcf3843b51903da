"""Candidates that were built in full: which is handed over, why, and its bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgesmith import __version__
from edgesmith.export import exporter
from edgesmith.export.bundle import write_bundle
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.runs import digest
from edgesmith.records import Candidate, Plan, StepRecord, TensorSpec, from_dict, read_json
from edgesmith.report.load import plan_name
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
    def drop(self) -> float:
        """On validation rows, through the runtime that loses least."""
        return min(self.drop_on(runtime) for runtime in self.exports)

    def keeps(self, max_drop: float) -> bool:
        """Whether the drop is inside the budget, but for rounding: 0.91 - 0.9 is a little more than 0.01."""
        return self.drop <= max_drop or math.isclose(self.drop, max_drop)


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


def bundle_candidate(bench: Workbench, built: Built, runtime: str, destination: Path) -> None:
    """Writes the folder that goes on the device, in place of an older one."""
    recipe, (export, folder) = bench.recipe, built.exports[runtime]
    facts, model = export.facts, exporter(runtime).MODEL_NAME
    write_bundle(
        destination,
        files={model: folder / model, **bench.modality.bundle_files()},
        runtime=runtime,
        task=recipe.task,
        model=model,
        inputs=[from_dict(TensorSpec, spec) for spec in facts["inputs"]],
        outputs=[from_dict(TensorSpec, spec) for spec in facts["outputs"]],
        labels=bench.splits.label_names,
        max_length=bench.modality.max_length,
        preprocessing=bench.modality.preprocessing,
        plan=read_json(Plan, built.plans / plan_name(runtime)),
        session={"intra_op_num_threads": recipe.validate.threads},
        metrics={f"validation_{bench.judge.metric}": facts["quality"], "validation_drop": facts["drop"]},
        provenance={
            "edgesmith": __version__,
            "model": recipe.model,
            "data": bench.splits.fingerprint,
            "export_key": export.key,
            "recipe": digest(str(recipe)),
        },
    )
