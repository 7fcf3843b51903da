"""Texts without labels beside the training rows: who learns from them, and from what answers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_pipeline import ROWS, Listener
from safetensors.numpy import load_file

from edgesmith.pipeline import compress
from edgesmith.pipeline.outlook import plan
from edgesmith.recipe import Recipe
from edgesmith.records import STEP_RECORD_NAME, SilentProgress, StepRecord, read_json

TEXTS = [f"the zeppelin of harbour {number} is unlabelled" for number in range(50)]


@pytest.fixture(scope="module")
def mine(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return replace(
        recipe,
        data=replace(recipe.data, unlabelled=str(path)),
        search=replace(recipe.search, candidates=("tiny", "small")),
    )


@pytest.fixture(scope="module")
def run(mine: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As far as the student that was distilled and not yet pruned."""
    path = tmp_path_factory.mktemp("lessons") / "run"
    with pytest.raises(KeyboardInterrupt):
        compress(mine, path, Listener(stop_at="03-prune/tiny"))
    return path


def record(run: Path, step: str) -> StepRecord:
    return read_json(StepRecord, run / step / STEP_RECORD_NAME)


def steps(rows: int, config: object) -> int:
    return math.ceil(math.ceil(rows / config.batch_size) * config.epochs)


def test_the_teacher_learns_from_the_labelled_rows_and_students_from_all(run: Path, mine: Recipe) -> None:
    labelled, all_rows = ROWS["train"], ROWS["train"] + len(TEXTS)
    assert record(run, "00-finetune/seed-0").facts["steps"] == steps(labelled, mine.finetune)
    assert record(run, "02-distill/1-layers").facts["steps"] == steps(all_rows, mine.distill)


def test_the_teacher_answers_them_after_the_training_rows(run: Path) -> None:
    logits = load_file(run / "00-teacher/logits.safetensors")["logits"]
    assert logits.shape == (ROWS["train"] + len(TEXTS), 2)
    assert np.isfinite(logits).all()
    assert (logits[-len(TEXTS) :] != 0).all()


def test_their_words_stay_in_the_vocabulary(run: Path, finished) -> None:
    without, kept = (record(path, "01-analyze").facts["vocabulary"] for path in (finished.path, run))
    assert kept > without


def test_the_plan_counts_them(mine: Recipe, recipe: Recipe) -> None:
    found, without = (plan(one, SilentProgress()) for one in (mine, recipe))
    assert found.training_steps["finetune"] == without.training_steps["finetune"]
    assert found.training_steps["distil"] == steps(ROWS["train"] + len(TEXTS), mine.distill)
    assert any(note.endswith("50 texts without labels, which the teacher answers.") for note in found.notes)
