"""The main job: the six steps in order, candidate by candidate, until one keeps the budget or the bound is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from edgesmith.analyze.cost import int8_file_bytes
from edgesmith.export import exporter
from edgesmith.measure.size import folder_bytes
from edgesmith.measure.verdict import Evidence, fastest_that_passes, judge
from edgesmith.models.device import prepare_torch, use_bf16
from edgesmith.pipeline import steps
from edgesmith.pipeline.analysis import analyze_teacher, predicts
from edgesmith.pipeline.artifacts import Baseline, export_baseline, export_student
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench, model_folder
from edgesmith.pipeline.built import Built, best_of, bundle_candidate, explain
from edgesmith.pipeline.general import teach_generally
from edgesmith.pipeline.precision import quantize
from edgesmith.pipeline.runs import LIBRARIES, RunFolder, StepResult, base_key, check_is_usable, locked
from edgesmith.pipeline.setups import Setup, choose_setups, default_setup
from edgesmith.pipeline.tasks import Opened, open_task
from edgesmith.pipeline.validation import Artifact, validate
from edgesmith.recipe import PruneConfig, Recipe
from edgesmith.records import (
    Candidate,
    Progress,
    StepRecord,
    Verdict,
    describe_environment,
    from_dict,
    write_json,
)
from edgesmith.report.load import HTML_NAME, MARKDOWN_NAME, RECIPE_NAME, VERDICT_NAME
from edgesmith.report.write import write_report
from edgesmith.search.structure import Effort, build_order, try_candidates
from edgesmith.search.vocabulary import Gap
from edgesmith.targets import HOST, load_target

BUNDLE_OVERHEAD_BYTES = 50_000
"""Manifest and run.py (42 kB for a student of two layers); the tokenizer is weighed as it is."""

_CANDIDATES_NAME = "candidates.json"
_RESULTS = (VERDICT_NAME, MARKDOWN_NAME, HTML_NAME, _CANDIDATES_NAME)
"""What an older run left and must not be taken for this one's."""


def compress(recipe: Recipe, out: Path, progress: Progress) -> Verdict:
    """Runs the recipe in the folder `out`.

    Finished steps that are found there are not done again; at the end, those of an older recipe are removed.

    Returns:
        The verdict; it is also in ``out/verdict.json``, with the report beside it. A budget that is not met is a
        verdict too, and the best artifact found is in ``out/bundle``.

    Raises:
        EdgesmithError: the recipe, the data or the model cannot be used, and `out` is as it was; or a step failed.
    """
    prepare_torch()
    check_is_usable(out)
    for runtime in recipe.runtimes:
        exporter(runtime)  # refuse now what would fail after an hour of training
    opened = open_task(recipe)
    with locked(out):
        for name in _RESULTS:
            (out / name).unlink(missing_ok=True)
        recipe.save(out / RECIPE_NAME)
        write_json(out / "environment.json", describe_environment(LIBRARIES))
        verdict = _Run(recipe, out, opened, progress).finish()
        write_json(out / VERDICT_NAME, verdict)
        write_report(out)
    return verdict


class _Run:
    """One run: the workbench, the folder, and the records of the steps that are finished."""

    def __init__(self, recipe: Recipe, out: Path, opened: Opened, progress: Progress) -> None:
        self.recipe, self.out, self.progress = recipe, out, progress
        self.wall_s: dict[str, float] = {}
        self.general = opened.general
        self.probe_drop: float | None = None  # of the vocabulary's trial, where it is a candidate's as well
        self.host = describe_environment(()).processor  # part of what was measured, so of the keys of 1 and 6
        model, splits = model_folder(recipe.model, recipe.tokenizer), opened.modality.splits
        settings: dict[str, Any] = {"task": recipe.task, "max_length": recipe.data.max_length}
        if recipe.tokenizer is not None:
            settings["zoo"] = recipe.model  # its weights follow from name and seed
        self.folder = RunFolder(out, base_key(model, splits.fingerprint, recipe.seed, settings))
        for note in (*splits.notes, *(self.general.notes if self.general else ())):
            progress.say(note)
        self.bench, self.root = self._teacher(opened, model)
        self.bench = replace(self.bench, teacher_table=self._table())

    def step(
        self,
        name: str,
        work: Callable[[Path], StepResult],
        *,
        config: Any = None,
        parents: tuple[StepRecord, ...] = (),
    ) -> tuple[StepRecord, Path]:
        """Does a step, or finds it done, and books its time."""
        prepare_torch()  # again: opening an ONNX Runtime session ends the flushing of denormal numbers
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

    def _teacher(self, opened: Opened, folder: Path) -> tuple[Workbench, tuple[StepRecord, ...]]:
        """The workbench around the teacher: the model as it came, or fine-tuned."""
        bench = Workbench(self.recipe, opened.modality, opened.model, folder, self.progress)
        if opened.has_head:
            return bench, ()
        config, first = self.recipe.finetune, self.recipe.seed
        runs = [
            self.step(
                f"00-finetune/seed-{seed}",
                partial(steps.finetune, bench, seed),
                config=replace(config, restarts=1),
            )
            for seed in range(first, first + config.restarts)
        ]
        record, path = max(runs, key=lambda run: float(run[0].facts["quality"]))
        if len(runs) > 1:
            self.progress.say(f"the teacher is that of {path.name}, the best on validation rows")
        tuned = opened.modality.reload(path / MODEL_FOLDER)
        return replace(bench, model=tuned, teacher_folder=path / MODEL_FOLDER), (record,)

    def _table(self) -> Path | None:
        """What the teacher answers to the lesson rows, written down if that is not too large."""
        needed, most = steps.table_bytes(self.bench), self.recipe.distill.table_bytes
        if needed > most:
            self.progress.say(
                f"the teacher's logits take {needed:,} bytes, more than distill.table_bytes, {most:,}: they are not "
                "written down, and it gives them anew when the run is resumed"
            )
            return None
        _, path = self.step(
            "00-teacher",
            partial(steps.answer_rows, self.bench),
            config={"bf16": use_bf16()},
            parents=self.root,
        )
        return path / steps.TABLE_NAME

    def finish(self) -> Verdict:
        """Steps 1 to 6."""
        self._settle_vocabulary()
        analysis, _ = self.step(
            "01-analyze",
            partial(analyze_teacher, self.bench),
            config={
                **self._vocabulary_config,
                "embedding": (self.recipe.prune.embedding_energy, self.recipe.prune.embedding_bytes),
                "candidates": self.recipe.search.candidates,
                "runtime": self.recipe.runtimes[0],
                "threads": self.recipe.validate.threads,
                "host": self.host,
                **({"target": load_target(self.recipe.target)} if predicts(self.recipe) else {}),
            },
            parents=self.root,
        )
        candidates = self._try([from_dict(Candidate, row) for row in analysis.facts["candidates"]])
        built = self._build(candidates)
        best = best_of(built, self.recipe.budget.max_drop)
        verdict = self._validate(best)
        write_json(self.out / _CANDIDATES_NAME, explain(candidates, built, best))
        self.folder.drop_unused()
        return verdict

    def _settle_vocabulary(self) -> None:
        """Which tokens students keep, where the recipe leaves it open.

        More than those of the training texts where other words cost the teacher itself more than the budget, or cost a
        student more than that in a trial, beyond chance: a device reads other words than the training rows hold, and may
        meet them in every text.
        """
        modality, recipe = self.bench.modality, self.recipe
        if modality.vocabulary is None or recipe.prune.vocabulary != "auto":
            return
        record, _ = self.step(
            "00-vocabulary",
            partial(steps.try_vocabulary, self.bench),
            config=self._trial_config,
            parents=self.root,
        )
        facts, most = record.facts, recipe.budget.max_drop
        gap = facts["gap"] and from_dict(Gap, facts["gap"])
        if facts["teacher_drop"] > most or (gap and not gap.is_inside(most)):
            modality.keep("letters")
            if self._fits():
                return
            self.progress.say("no candidate that keeps more tokens is inside the size limit")
            modality.keep("texts")
        if gap:
            self.probe_drop = float(facts["drop"])

    def _fits(self) -> bool:
        """Whether the smallest candidate is inside the size limit, as far as its predicted bytes tell."""
        smallest = min(int8_file_bytes(shape) for _, shape in self.bench.rungs.values())
        limit = self.recipe.budget.max_size_bytes
        return limit is None or smallest + self.overhead_bytes <= limit

    @property
    def effort(self) -> Effort:
        """Training steps of a trial and of a full recovery."""
        search, recovery, rows = self.recipe.search, self.recipe.prune.recovery, len(self.bench.lesson_rows)
        return Effort(
            trial_steps=ceil(min(search.trial_rows, rows) * search.trial_epochs / recovery.batch_size),
            full_steps=max(1, ceil(rows * recovery.epochs / recovery.batch_size)),
        )

    @property
    def _trial_config(self) -> dict[str, Any]:
        """What every short training is told."""
        search = self.recipe.search
        return {"rows": search.trial_rows, "epochs": search.trial_epochs, "prune": self._prune_config}

    @property
    def _prune_config(self) -> PruneConfig:
        """The recipe's, with the vocabulary that was settled on."""
        vocabulary = self.bench.modality.vocabulary
        return replace(self.recipe.prune, vocabulary=vocabulary or self.recipe.prune.vocabulary)

    @property
    def _vocabulary_config(self) -> dict[str, Any]:
        """Which tokens students keep."""
        prune = self._prune_config
        return {name: getattr(prune, name) for name in ("min_token_count", "vocabulary_size", "vocabulary")}

    @property
    def overhead_bytes(self) -> int:
        """Of the bundle beside the model."""
        files = self.bench.modality.bundle_files().values()
        return BUNDLE_OVERHEAD_BYTES + sum(len(content.encode()) for content in files)

    def _try(self, candidates: list[Candidate]) -> list[Candidate]:
        """Short trials of the candidates that fit the size and latency limits."""

        def trial(candidate: Candidate) -> float:
            if candidate.name == steps.PROBE and self.probe_drop is not None:
                return self.probe_drop
            record, _ = self.step(
                f"02-distill/trial-{candidate.name}",
                partial(steps.try_structure, self.bench, candidate),
                config=self._trial_config | {"structure": candidate.structure},
                parents=self.root,
            )
            return float(record.facts["drop"])

        return try_candidates(
            candidates,
            self.recipe.budget,
            self.effort,
            trial=trial,
            bounds=self.recipe.search,
            overhead_bytes=self.overhead_bytes,
        )

    def _build(self, candidates: list[Candidate]) -> list[Built]:
        """Builds candidates in full until one keeps the drop on validation rows, at most `max_attempts`."""
        built: list[Built] = []
        order = build_order(candidates, self.recipe.budget, self.effort, overhead_bytes=self.overhead_bytes)
        for candidate in order[: self.recipe.search.max_attempts]:
            self.progress.say(f"building '{candidate.name}': {candidate.decision}")
            built.append(self._build_one(candidate))
            if built[-1].keeps(self.recipe.budget.max_drop):
                break
        return built

    def _build_one(self, candidate: Candidate) -> Built:
        """Steps 2 to 5 for one candidate."""
        name, bench, recipe = candidate.name, self.bench, self.recipe
        depth = candidate.structure.depth
        general = self._teach_generally(depth)
        distilled, distilled_path = self.step(
            f"02-distill/{depth}-layers",
            partial(steps.distill, bench, candidate, general and general[1]),
            config={"distill": recipe.distill, "depth": depth, **self._vocabulary_config},
            parents=(*self.root, *([general[0]] if general else [])),
        )
        pruned, pruned_path = self.step(
            f"03-prune/{name}",
            partial(steps.prune, bench, candidate, distilled_path),
            config={"prune": self._prune_config, "structure": candidate.structure},
            parents=(distilled,),
        )
        planned, plan_path = self.step(
            f"04-quantize/{name}",
            partial(quantize, bench, pruned_path / MODEL_FOLDER),
            config={
                "quantize": recipe.quantize,
                "runtimes": recipe.runtimes,
                "max_drop": recipe.budget.max_drop if recipe.quantize.recovery.epochs else None,
            },
            parents=(pruned,),
        )
        exports: dict[str, tuple[StepRecord, Path]] = {
            runtime: self.step(
                f"05-export/{name}-{runtime}",
                partial(export_student, bench, runtime, pruned_path, plan_path),
                config={"runtime": runtime},
                parents=(pruned, planned),
            )
            for runtime in recipe.runtimes
        }
        built = Built(candidate=candidate, plans=plan_path, exports=exports)
        return replace(built, candidate=replace(candidate, final_drop=built.drop, decision=built.story))

    def _teach_generally(self, depth: int) -> tuple[StepRecord, Path] | None:
        """The general stage of a student of `depth` layers; None where the recipe has none, or no layer goes."""
        stage = self.general
        if stage is None or depth == len(self.bench.teacher.layers):
            return None
        return self.step(
            f"02-distill/general-{depth}-layers",
            partial(teach_generally, self.bench, stage, depth),
            config={"general": self.recipe.distill.general, "depth": depth, "source": stage.key},
            parents=self.root,
        )

    def _validate(self, best: Built) -> Verdict:
        """Writes the chosen candidate's bundles and holds them against the budget; the fastest that passes answers."""
        recipe, bench = self.recipe, self.bench
        setups, parents = self._set_up(best)
        artifacts = []
        for runtime in recipe.runtimes:
            baseline, path = self.step(
                f"05-export/baseline-{runtime}",
                partial(export_baseline, bench, runtime),
                config={"runtime": runtime},
                parents=self.root,
            )
            bundle = self.out / "bundle" / runtime
            setup, metric = setups[runtime], f"validation_{bench.judge.metric}"
            metrics = {metric: setup.quality, "validation_drop": setup.drop}
            bundle_candidate(bench, best, runtime, bundle, settings=setup.settings, metrics=metrics)
            export, _ = best.exports[runtime]
            parents.append(baseline)
            artifacts.append(
                Artifact(
                    runtime=runtime,
                    bundle=bundle,
                    baseline=Baseline(runtime, path),
                    stored=export.facts["stored"],
                    validation_drop=setup.drop,
                )
            )
        record, _ = self.step(
            "06-validate",
            partial(validate, bench, artifacts),
            config={"validate": recipe.validate, "candidate": best.candidate.name, "host": self.host},
            parents=tuple(parents),
        )
        wall_s = {step: round(seconds, 1) for step, seconds in self.wall_s.items()}
        return fastest_that_passes(
            [
                self._judge(artifact, record.facts["runtimes"][artifact.runtime]["evidence"], wall_s)
                for artifact in artifacts
            ]
        )

    def _set_up(self, best: Built) -> tuple[dict[str, Setup], list[StepRecord]]:
        """How each runtime opens the chosen candidate, and the records that this follows from."""
        recipe, exports = self.recipe, [record for record, _ in best.exports.values()]
        if recipe.target != HOST:
            return {runtime: default_setup(best, runtime) for runtime in recipe.runtimes}, exports
        record, _ = self.step(
            "05-settings",
            partial(choose_setups, self.bench, best),
            config={"validate": recipe.validate, "max_drop": recipe.budget.max_drop, "host": self.host},
            parents=tuple(exports),
        )
        runtimes = record.facts["runtimes"]
        return {runtime: from_dict(Setup, runtimes[runtime]["setup"]) for runtime in recipe.runtimes}, [
            record
        ]

    def _judge(self, artifact: Artifact, facts: dict[str, Any], wall_s: dict[str, float]) -> Verdict:
        """What was measured of one runtime's bundle, against the budget."""
        evidence = from_dict(Evidence, facts)
        sizes = replace(evidence.sizes, device=folder_bytes(artifact.bundle))  # as it lies there now
        bundle = str(artifact.bundle.relative_to(self.out))
        return judge(self.recipe, replace(evidence, sizes=sizes, bundle=bundle, wall_s=wall_s))
