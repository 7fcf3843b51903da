"""Plans against uniform precisions, on texts and on images: accuracy, size, p50, and what each layer suffers. Resumable.

    python benchmarks/quantization.py [sst-2] [sst-2-pruned] [sts-b] [cifar-10] [tinybert-4] [mobilebert] [--timed] [--walls]

Writes results/quantization.md. The models of SST-2 and CIFAR-10 are those of `benchmarks/pruning.py`, and are made as it does
where they are missing; STS-B's is fine-tuned here; TinyBERT and MobileBERT have random weights and show structure only. Each plan
of a model for a runtime is a cell of its own, kept in runs/quantization: delete those that new code shall measure again. On an
idle machine, `--timed` times them, in turns at one thread, and `--walls` a whole `edgesmith quantize` of each model. The data is
looked for as `benchmarks/pruning.py` says.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pruning
import torch
from jobs import minilm
from quantization_tables import page
from rich.console import Console
from study import arguments, cell, found_in

from edgesmith import Budget, pipeline
from edgesmith.compress.quantize import (
    is_small_table,
    layer_kind,
    plan_layer,
    quantizable_layers,
    scheme_layer,
)
from edgesmith.compress.quantize_ranges import input_range, observe_inputs
from edgesmith.errors import BudgetError, EdgesmithError
from edgesmith.export import exporter
from edgesmith.measure.latency import time_interleaved
from edgesmith.measure.parity import check_parity
from edgesmith.measure.quality import compare
from edgesmith.measure.size import fp32_safetensors_bytes, model_bytes
from edgesmith.models import save_classifier
from edgesmith.models.coupling import to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.models.zoo import load_zoo_classifier
from edgesmith.pipeline import quantizing
from edgesmith.pipeline.artifacts import feeds_of
from edgesmith.pipeline.runs import model_fingerprint
from edgesmith.pipeline.sensitivity import BATCH, Calibration, open_calibration
from edgesmith.pipeline.tasks import open_inputs
from edgesmith.recipe import DataConfig, FinetuneConfig, PrecisionConfig, Recipe
from edgesmith.records import Plan, Progress, Quantization, Scheme, find_zoo_model, graph_files, read_json
from edgesmith.report.progress import RichProgress
from edgesmith.runtime import load_bundle
from edgesmith.runtime.predictor import open_session
from edgesmith.targets import integer_schemes

RUNTIMES = ("onnxruntime", "litert")
MAX_DROP = 0.005
TEST_ROWS, TIMED_ROWS = 1_500, 32
"""Test rows that are answered at most; validation rows that are timed."""

PLANS: dict[str, dict[str, Any]] = {
    "FP32": {"uniform": "fp32"},
    "static INT8": {"uniform": "int8-static"},
    "dynamic INT8": {"uniform": "int8-dynamic"},
    "plan": {},
    "INT4": {"uniform": "int4"},
    "FP16": {"uniform": "fp16"},
    "plan, 25 %": {"max_share": 0.25},
    "plan, 21 %": {"max_share": 0.21},
    "plan, 18 %": {"max_share": 0.18},
}
"""Of `PrecisionConfig`, what differs from its defaults, with 29 % of the size."""
COMPARED = ("FP32", "static INT8", "dynamic INT8", "plan", "INT4")
"""On every runtime; the others, on the first alone, are of the study of sizes."""


@dataclass(frozen=True)
class Subject:
    """A model and its rows.

    Attributes:
        folder: of the model, under --runs.
        make: writes it.
        recipe: of a model at a place.
        has_learnt: its answers mean something.
        rows: of `PrecisionConfig`, for what has more positions a row than sentences have.
    """

    title: str
    folder: str
    make: Callable[[Path, Progress], object]
    recipe: Callable[[Path], Recipe]
    has_learnt: bool = True
    rows: Mapping[str, int] = field(default_factory=dict)


def _taught(task: str) -> Subject:
    """The fine-tuned model that `benchmarks/pruning.py` starts from."""
    setting = pruning.SETTINGS[task]

    def make(folder: Path, progress: Progress) -> None:
        pipeline.finetune(pruning.recipe(task, setting.model()), folder, progress)

    return Subject(TITLES[task], f"pruning/{task}/teacher", make, partial(pruning.recipe, task))


def _pruned(task: str, share: float) -> Subject:
    """What it makes of that."""
    variant = pruning.name(share)
    return Subject(
        f"{TITLES[task]}, {variant}",
        f"pruning/{task}/{variant}/recovered",
        lambda folder, progress: pruning.make(task, folder.parents[1], progress),
        partial(pruning.recipe, task),
    )


def _scores(folder: Path | str) -> Recipe:
    """Fine-tuned as `benchmarks/tasks.py` has it."""
    return Recipe(
        model=str(folder),
        data=DataConfig(path=str(pruning.GLUE / "STS-B")),
        task="text-regression",
        finetune=FinetuneConfig(epochs=4),
    )


def _sentences(folder: Path) -> Recipe:
    """A few rows of SST-2, for what is not to be learnt."""
    return Recipe(model=str(folder), data=DataConfig(path=str(pruning.GLUE / "SST-2"), max_rows=2_000))


def _random(folder: Path, progress: Progress) -> None:
    """A model of the zoo, called as its folder, with MiniLM's tokenizer, which is BERT's."""
    loaded = load_zoo_classifier(find_zoo_model(folder.name), str(minilm()), ("0", "1"), seed=0)
    save_classifier(loaded.model, loaded.tokenizer, folder)


TITLES = {"SST-2": "MiniLM on SST-2", "CIFAR-10": "DINOv2-small on CIFAR-10"}
SUBJECTS = {
    "sst-2": _taught("SST-2"),
    "sst-2-pruned": _pruned("SST-2", 0.5),
    "sts-b": Subject(
        "MiniLM on STS-B",
        "quantization/models/sts-b",
        lambda folder, progress: pipeline.finetune(_scores(minilm()), folder, progress),
        _scores,
    ),
    "cifar-10": replace(_taught("CIFAR-10"), rows={"calibration_rows": 32, "verification_rows": 512}),
    "tinybert-4": Subject(
        "TinyBERT-4, random weights", "quantization/models/tinybert-4", _random, _sentences, has_learnt=False
    ),
    "mobilebert": Subject(
        "MobileBERT, random weights", "quantization/models/mobilebert", _random, _sentences, has_learnt=False
    ),
}  # fmt: skip
WHOLE = ("mobilebert",)
"""Models without a compact form, for which `edgesmith quantize` makes no plan: uniform precisions only."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "subjects", nargs="*", default=list(SUBJECTS), metavar="NAME", help=", ".join(SUBJECTS)
    )
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES, metavar="NAME")
    parser.add_argument("--timed", action="store_true", help="p50 of what is not timed yet")
    parser.add_argument(
        "--walls", action="store_true", help="the seconds of a whole `edgesmith quantize`, likewise"
    )
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    prepare_torch()
    for name in asked.subjects:
        study = Study(name, asked.runs, asked.runtimes)
        with RichProgress(Console(stderr=True)) as progress:
            study.measure(progress)
            if asked.timed:
                study.time(asked.rounds, progress)
            if asked.walls:
                study.walls(progress)
    studies = {name: read(name, asked.runs) for name in SUBJECTS}
    page(asked.results, {name: found for name, found in studies.items() if found})


def read(name: str, runs: Path) -> dict[str, Any]:
    """Everything that is kept of a subject: ``cells`` by runtime and plan, ``latency``, ``wall``, ``sensitivities``."""
    folder = runs / "quantization" / name
    cells = {
        runtime: {plan: found for plan in PLANS if (found := found_in(folder / runtime / f"{plan}.json"))}
        for runtime in RUNTIMES
    }
    if not any(cells.values()):
        return {}
    records = (folder / runtime / "plan" / "quantization.json" for runtime in RUNTIMES)
    return {
        "title": SUBJECTS[name].title,
        "has_learnt": SUBJECTS[name].has_learnt,
        "cells": cells,
        "latency": found_in(folder / "latency.json"),
        "wall": {runtime: found_in(folder / runtime / "wall.json") for runtime in RUNTIMES},
        "quantizations": [read_json(Quantization, path) for path in records if path.is_file()],
    }


class Study:
    """The cells of one subject."""

    def __init__(self, name: str, runs: Path, runtimes: tuple[str, ...]) -> None:
        self.name, self.subject, self.runtimes = name, SUBJECTS[name], runtimes
        self.model, self.folder = runs / self.subject.folder, runs / "quantization" / name
        self.recipe = replace(self.subject.recipe(self.model), budget=Budget(max_drop=MAX_DROP))

    def measure(self, progress: Progress) -> None:
        """Every plan that the runtimes have, but for latency."""
        if not self.model.exists():
            try:
                self.subject.make(self.model, progress)
            except (EdgesmithError, FileNotFoundError) as missing:
                print(f"{self.name} is left out: {missing}", flush=True)
                return
        weights = model_fingerprint(self.model)
        for runtime in self.runtimes:
            with self._opened_once(self.folder / runtime, weights):
                for plan in self._plans(runtime):
                    cell(
                        self.folder / runtime / f"{plan}.json",
                        partial(
                            self._measure_uniform if self.name in WHOLE else self._measure,
                            runtime,
                            plan,
                            progress,
                        ),
                        weights=weights,
                        changed={**self.subject.rows, **PLANS[plan]},
                    )

    def _plans(self, runtime: str) -> Iterator[str]:
        has_static = any(scheme.activation == "static_int8" for scheme in integer_schemes(runtime, "linear"))
        has_static = has_static and (self.name not in WHOLE or runtime == RUNTIMES[0])
        studied = self.subject.has_learnt and runtime == RUNTIMES[0]
        for plan in PLANS if studied else COMPARED:
            if (plan != "static INT8" or has_static) and (plan != "plan" or self.name not in WHOLE):
                yield plan

    def _measure(self, runtime: str, plan: str, progress: Progress, **_: Any) -> dict[str, Any]:
        """A bundle and its record, and what it answers to test rows."""
        folder = self.folder / runtime / plan
        shutil.rmtree(folder, ignore_errors=True)
        try:
            config = PrecisionConfig(runtime=runtime, **self.subject.rows, **PLANS[plan])
            record = pipeline.quantize(self.recipe, config, folder, progress)
        except BudgetError as impossible:
            return {"failed": str(impossible)}
        kept = ("metric", "validation_rows", "reference", "quality", "drop", "drop_ci95", "agreement", "failures", "macs",
                "baseline_bytes", "bytes", "sqnr_db")  # fmt: skip
        return {name: getattr(record, name) for name in kept} | {
            "trials": len(record.trials),
            "test": self._test(folder / record.bundle, folder.parent / "FP32" / "test.npy", progress),
        }

    @contextmanager
    def _opened_once(self, folder: Path, weights: str) -> Iterator[None]:
        """Within it `pipeline.quantize` opens the model once, and measures its layers once, for all plans of a runtime.

        Args:
            folder: of cells; what an earlier call with the same weights found of the layers is taken over.
        """
        opened: list[Calibration] = []

        def reopen(recipe: Recipe, config: PrecisionConfig, progress: Progress) -> Calibration:
            if not opened:
                first = open_calibration(recipe, config, progress)
                for path in folder.glob("*/quantization.json"):
                    kept = folder / f"{path.parent.name}.json"
                    if (
                        kept.is_file()
                        and json.loads(kept.read_text(encoding="utf-8"))["asked"]["weights"] == weights
                    ):
                        first.__dict__["sensitivities"] = read_json(Quantization, path).sensitivities
                _ = first.ranges, first.sensitivities, first.macs
                self.__dict__.setdefault("_modality", first.bench.modality)
                opened.append(first)
            found = copy.copy(opened[0])
            found.config, found.wall_s = config, {}
            return found

        quantizing.open_calibration = reopen
        try:
            yield
        finally:
            quantizing.open_calibration = open_calibration

    @cached_property
    def _modality(self) -> Any:
        return open_inputs(self.recipe).modality

    def _test(self, bundle: Path, reference: Path, progress: Progress) -> dict[str, Any]:
        """Of a bundle on test rows, against the bundle in FP32, whose logits are written first."""
        rows = self._modality.splits.test
        rows = rows.take(range(min(len(rows), TEST_ROWS)))
        with load_bundle(bundle) as predictor:
            logits = self._modality.answer(predictor, rows)[1]
        np.save(bundle.parents[1] / "test.npy", logits)
        wanted, judge = np.load(reference), self._modality.judge
        compared = compare(
            judge.answers(wanted), judge.answers(logits), np.array(rows.labels), judge=judge, resamples=10_000, seed=0
        )  # fmt: skip
        return {
            "rows": compared.n,
            "quality": compared.artifact,
            "drop": compared.drop,
            "drop_ci95": compared.drop_ci95,
            "cosine": cosine(wanted, logits),
        }

    # ---- models that are exported whole

    def _measure_uniform(self, runtime: str, plan: str, progress: Progress, **_: Any) -> dict[str, Any]:
        """A file with every layer in one precision, and its logits on 48 texts beside those in FP32."""
        folder, modality = self.folder / runtime / plan, self._modality
        folder.mkdir(parents=True, exist_ok=True)
        opened = open_inputs(self.recipe)
        model, rows = to_prunable(opened.model).eval(), modality.validation_rows.take(range(48))
        writer, file = exporter(runtime), folder / exporter(runtime).MODEL_NAME
        graph = file.with_stem("graph")
        writer.export_graph(model, graph, max_length=modality.max_length, pairs=False)
        writer.lower(graph, self._uniform(model, runtime, plan), file)
        for part in graph_files(graph):
            part.unlink()
        session = open_session(runtime, file)
        logits = np.concatenate([session.run(feeds_of(rows, row)) for row in range(len(rows))])
        np.save(folder / "test.npy", logits)
        wanted = np.load(folder.parent / "FP32" / "test.npy")
        found = {"rows": len(rows), "cosine": cosine(wanted, logits)}
        return {
            "baseline_bytes": fp32_safetensors_bytes(self.model),
            "bytes": model_bytes(file),
            "test": found,
        }

    def _uniform(self, model: Any, runtime: str, plan: str) -> Plan:
        """As `edgesmith quantize --uniform` has it."""
        wanted, entries = PLANS[plan]["uniform"], []
        ranges = self._ranges(model) if wanted == "int8-static" else {}
        for name, module in quantizable_layers(model).items():
            if is_small_table(name) or wanted == "fp32":
                entries.append(plan_layer(name, module, "fp32" if wanted == "fp32" else "fp16"))
                continue
            kind = layer_kind(module)
            activation = "none" if kind == "embedding" else wanted.partition("-")[2] or "dynamic"
            scheme = next(
                (one for one in integer_schemes(runtime, kind)
                 if one.weight == wanted[:4] and one.activation.startswith(activation)), Scheme("int8")
            )  # fmt: skip
            entries.append(scheme_layer(name, module, scheme, input_range=ranges.get(name)))
        return Plan(layers=tuple(entries))

    def _ranges(self, model: Any) -> dict[str, tuple[float, float]]:
        rows = self._modality.train_rows
        batches = list(rows.batches(BATCH, rows.sample(128, 0)))
        with torch.no_grad():
            seen = observe_inputs(model, batches, 0)
        return {name: input_range(each, PrecisionConfig().observer) for name, each in seen.items()}

    # ---- time

    def time(self, rounds: int, progress: Progress) -> None:
        """p50 of all files in turns."""
        plans = [
            (runtime, plan)
            for runtime in self.runtimes
            for plan in self._plans(runtime)
            if "bytes" in found_in(self.folder / runtime / f"{plan}.json")
        ]
        if plans:
            cell(self.folder / "latency.json", partial(self._clock, progress), plans=plans, rounds=rounds)

    def walls(self, progress: Progress) -> None:
        """What a whole `edgesmith quantize` takes on each runtime."""
        for runtime in self.runtimes if self.model.exists() and self.name not in WHOLE else ():
            path = self.folder / runtime / "wall.json"
            cell(path, partial(self._wall, progress), runtime=runtime, weights=model_fingerprint(self.model))

    def _clock(self, progress: Progress, plans: list[tuple[str, str]], rounds: int) -> dict[str, Any]:
        rows = self._modality.validation_rows
        rows = rows.take(rows.sample(TIMED_ROWS, 0))
        inputs = [feeds_of(rows, row) for row in range(len(rows))]
        sessions = {
            f"{runtime}/{plan}": open_session(runtime, self._file(runtime, plan), threads=1)
            for runtime, plan in plans
        }
        runs = {name: session.run for name, session in sessions.items()}
        progress.start(f"timing {self.name}", rounds + 2)
        timed = time_interleaved(
            runs,
            dict.fromkeys(runs, inputs),
            rounds=rounds,
            threads=1,
            mean_tokens={},
            after_round=progress.advance,
        )
        progress.finish()
        return {
            "p50_ms": {name: sample.p50 for name, sample in timed.samples.items()},
            "cpu_share": timed.cpu_share,
            "n": rounds * len(inputs),
            "mean_length": float(np.mean(rows.lengths)),
        }

    def _file(self, runtime: str, plan: str) -> Path:
        folder, name = self.folder / runtime / plan, exporter(runtime).MODEL_NAME
        return folder / name if self.name in WHOLE else folder / "bundle" / runtime / name

    def _wall(self, progress: Progress, runtime: str, **_: Any) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as temporary:
            config = PrecisionConfig(runtime=runtime, **self.subject.rows)
            record = pipeline.quantize(self.recipe, config, Path(temporary) / "out", progress)
        return {"wall_s": record.wall_s, "trials": len(record.trials), "threads": torch.get_num_threads()}


def cosine(wanted: Any, logits: Any) -> float:
    """Of all logits of all rows as one vector: that of a row of two logits is 1 or -1."""
    flat = (1, -1)
    return check_parity(
        wanted.reshape(flat), logits.reshape(flat), tolerance=np.inf, name="logits"
    ).min_cosine


if __name__ == "__main__":
    main()
