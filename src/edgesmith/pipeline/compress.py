"""The main job: the six steps in order, candidate by candidate, until one keeps the budget or the bound is reached."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from edgesmith import __version__
from edgesmith.data import Splits, load_splits
from edgesmith.export.bundle import write_bundle
from edgesmith.measure.verdict import Evidence, judge
from edgesmith.models import LoadedModel, load_classifier
from edgesmith.models.device import prepare_torch
from edgesmith.pipeline import steps
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.runs import LIBRARIES, RunFolder, StepResult, base_key, digest, locked
from edgesmith.pipeline.validation import Artifact, validate
from edgesmith.recipe import Recipe
from edgesmith.records import (
    Candidate,
    Plan,
    Progress,
    StepRecord,
    TensorSpec,
    Verdict,
    describe_environment,
    from_dict,
    read_json,
    write_json,
    write_text,
)
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.runtime.bundle import TOKENIZER_NAME
from edgesmith.search.structure import Effort, build_order, cost, try_candidates

BUNDLE_OVERHEAD_BYTES = 90_000
"""Manifest and run.py; the tokenizer is weighed as it is."""


@dataclass(frozen=True)
class Built:
    """A candidate that went through steps 2 to 5, with the record of its export."""

    candidate: Candidate
    export: StepRecord

    @property
    def drop(self) -> float:
        """On validation rows, through the runtime."""
        return float(self.export.facts["drop"])


def compress(recipe: Recipe, out: Path, progress: Progress) -> Verdict:
    """Runs the recipe in the folder `out`; finished steps that are found there are not done again.

    Returns:
        The verdict; it is also in ``out/verdict.json``, with the report beside it. A budget that is not met is a
        verdict too, and the best artifact found is in ``out/bundle``.

    Raises:
        EdgesmithError: the recipe, the data or the model cannot be used, or a step failed.
    """
    prepare_torch()
    splits = load_splits(recipe.data, recipe.seed)
    with locked(out):
        recipe.save(out / "recipe.resolved.yaml")
        write_json(out / "environment.json", describe_environment(LIBRARIES))
        (out / "verdict.json").unlink(missing_ok=True)
        run = _Run(recipe, out, splits, progress)
        verdict = run.finish()
        write_json(out / "verdict.json", verdict)
        write_text(out / "report.md", render_markdown(load_run(out)))
    return verdict


class _Run:
    """One run: the workbench, the folder, and the records of the steps that are finished."""

    def __init__(self, recipe: Recipe, out: Path, splits: Splits, progress: Progress) -> None:
        self.recipe, self.out, self.progress = recipe, out, progress
        self.wall_s: dict[str, float] = {}
        settings = {"data": recipe.data.max_length, "task": recipe.task, "quick": recipe.quick}
        self.folder = RunFolder(out, base_key(recipe.model, splits.fingerprint, recipe.seed, settings))
        for note in splits.notes:
            progress.say(note)
        self.bench, self.root = self._teacher(splits)

    def step(
        self,
        name: str,
        work: Callable[[Path], StepResult],
        *,
        config: Any = None,
        parents: tuple[StepRecord, ...] = (),
    ) -> tuple[StepRecord, Path]:
        """Does a step, or finds it done, and books its time."""
        self.progress.step(*name.split("/"))
        record, path = self.folder.step(
            name,
            config=config,
            parents=parents,
            work=work,
            on_reuse=lambda record: self.progress.say(f"already done in {record.wall_s:.0f} s"),
        )
        for reason in record.reasons:
            self.progress.say(reason)
        self.wall_s[record.step] = self.wall_s.get(record.step, 0.0) + record.wall_s
        return record, path

    def _teacher(self, splits: Splits) -> tuple[Workbench, tuple[StepRecord, ...]]:
        """The workbench around the teacher: the model as it came, or fine-tuned."""
        loaded = load_classifier(self.recipe.model, splits.label_names)
        bench = self._bench(splits, loaded, Path(self.recipe.model))
        if loaded.has_head:
            return bench, ()
        record, path = self.step("00-finetune", partial(steps.finetune, bench), config=self.recipe.finetune)
        folder = path / steps.MODEL_FOLDER
        return self._bench(splits, load_classifier(str(folder), splits.label_names), folder), (record,)

    def _bench(self, splits: Splits, loaded: LoadedModel, folder: Path) -> Workbench:
        return Workbench(self.recipe, splits, loaded.model, loaded.tokenizer, folder, self.progress)

    def finish(self) -> Verdict:
        """Steps 1 to 6."""
        analysis, _ = self.step(
            "01-analyze",
            partial(steps.analyze_teacher, self.bench),
            config={
                "min_token_count": self.recipe.prune.min_token_count,
                "threads": self.recipe.validate.threads,
            },
            parents=self.root,
        )
        candidates = self._try([from_dict(Candidate, row) for row in analysis.facts["candidates"]])
        built = self._build(candidates)
        best = self._best(built)
        self._write_candidates(candidates, built, best)
        return self._validate(best)

    def _try(self, candidates: list[Candidate]) -> list[Candidate]:
        """Short trials of the candidates that fit the size and latency limits."""
        search = self.recipe.search

        def trial(candidate: Candidate) -> float:
            record, _ = self.step(
                f"02-distill/trial-{candidate.name}",
                partial(steps.try_structure, self.bench, candidate),
                config={"search": search, "prune": self.recipe.prune, "structure": candidate.structure},
                parents=self.root,
            )
            return float(record.facts["drop"])

        return try_candidates(
            candidates,
            self.recipe.budget,
            trial=trial,
            max_trials=search.max_trials,
            overhead_bytes=BUNDLE_OVERHEAD_BYTES + len(self.bench.vocabulary.tokenizer_json.encode()),
        )

    def _build(self, candidates: list[Candidate]) -> list[Built]:
        """Builds candidates in full until one keeps the drop on validation rows, at most `max_attempts`."""
        search, rows = self.recipe.search, len(self.bench.train_rows)
        recovery = self.recipe.prune.recovery
        effort = Effort(
            trial_steps=ceil(min(search.trial_rows, rows) * search.trial_epochs / recovery.batch_size),
            full_steps=ceil(rows * recovery.epochs / recovery.batch_size),
        )
        built: list[Built] = []
        for candidate in build_order(candidates, self.recipe.budget, effort)[: search.max_attempts]:
            self.progress.say(f"building '{candidate.name}': {candidate.decision}")
            built.append(self._build_one(candidate))
            if built[-1].drop <= self.recipe.budget.max_drop:
                break
        return built

    def _build_one(self, candidate: Candidate) -> Built:
        """Steps 2 to 5 for one candidate."""
        name, bench, recipe = candidate.name, self.bench, self.recipe
        depth = candidate.structure.depth
        distilled, distilled_path = self.step(
            f"02-distill/{depth}-layers",
            partial(steps.distill, bench, candidate),
            config={"distill": recipe.distill, "depth": depth},
            parents=self.root,
        )
        pruned, pruned_path = self.step(
            f"03-prune/{name}",
            partial(steps.prune, bench, candidate, distilled_path),
            config={"prune": recipe.prune, "structure": candidate.structure},
            parents=(distilled,),
        )
        planned, plan_path = self.step(
            f"04-quantize/{name}",
            partial(steps.quantize, bench, pruned_path),
            config=recipe.quantize,
            parents=(pruned,),
        )
        exported, _ = self.step(
            f"05-export/{name}",
            partial(steps.export_student, bench, pruned_path, plan_path),
            config={"runtime": recipe.runtime},
            parents=(pruned, planned),
        )
        lost = f"{100 * float(exported.facts['drop']):+.2f} points on {len(bench.validation_rows):,} validation rows"
        return Built(
            replace(candidate, final_drop=float(exported.facts["drop"]), decision=f"built: lost {lost}"),
            exported,
        )

    def _best(self, built: list[Built]) -> Built:
        """The cheapest that keeps the drop, else the one that loses least."""
        inside = [one for one in built if one.drop <= self.recipe.budget.max_drop]
        return min(inside, key=lambda one: cost(one.candidate), default=min(built, key=lambda one: one.drop))

    def _write_candidates(self, candidates: list[Candidate], built: list[Built], best: Built) -> None:
        """All candidates with their decisions, cheapest first."""
        results = {one.candidate.name: one.candidate for one in built}
        rows = []
        for candidate in candidates:
            row = results.get(candidate.name, candidate)
            if row.name == best.candidate.name:
                row = replace(row, chosen=True, decision=f"chosen; {row.decision}")
            elif not row.decision:
                row = replace(
                    row, decision="tried, and not built: another was expected to keep the budget at less cost"
                )
            rows.append(row)
        write_json(self.out / "candidates.json", rows)

    def _validate(self, best: Built) -> Verdict:
        """Writes the bundle of the chosen candidate and holds it against the budget."""
        name, recipe = best.candidate.name, self.recipe
        baseline, baseline_path = self.step(
            "05-export/baseline",
            partial(steps.export_baseline, self.bench),
            config={"runtime": recipe.runtime},
            parents=self.root,
        )
        bundle = self.out / "bundle" / recipe.runtime
        self._write_bundle(best, bundle)
        artifact = Artifact(
            bundle=bundle,
            baseline=baseline_path,
            stored=best.export.facts["stored"],
            validation_drop=best.drop,
        )
        record, _ = self.step(
            "06-validate",
            partial(validate, self.bench, artifact),
            config={"validate": recipe.validate, "candidate": name},
            parents=(best.export, baseline),
        )
        evidence = from_dict(Evidence, record.facts["evidence"])
        relative = os.path.relpath(bundle, self.out)
        return judge(
            recipe,
            replace(evidence, bundle=relative, wall_s={k: round(v, 1) for k, v in self.wall_s.items()}),
        )

    def _write_bundle(self, best: Built, bundle: Path) -> None:
        facts, folder = best.export.facts, self.out / "05-export" / best.candidate.name
        write_bundle(
            bundle,
            files={
                steps.MODEL_NAME: folder / steps.MODEL_NAME,
                TOKENIZER_NAME: self.bench.vocabulary.tokenizer_json,
            },
            runtime=self.recipe.runtime,
            task=self.recipe.task,
            model=steps.MODEL_NAME,
            inputs=[from_dict(TensorSpec, spec) for spec in facts["inputs"]],
            outputs=[from_dict(TensorSpec, spec) for spec in facts["outputs"]],
            labels=self.bench.splits.label_names,
            max_length=self.bench.max_length,
            plan=read_json(Plan, self.out / "04-quantize" / best.candidate.name / steps.PLAN_NAME),
            session={"intra_op_num_threads": self.recipe.validate.threads},
            metrics={"validation_accuracy": facts["accuracy"], "validation_drop": facts["drop"]},
            provenance={
                "edgesmith": __version__,
                "model": self.recipe.model,
                "data": self.bench.splits.fingerprint,
                "export_key": best.export.key,
                "recipe": digest(str(self.recipe)),
            },
        )
