"""Which tokens students keep, where the recipe leaves it to a trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_pipeline import Listener
from tokenizers import Tokenizer
from transformers import pipeline

from edgesmith.models import load_classifier
from edgesmith.pipeline import compress
from edgesmith.pipeline.tasks import open_task
from edgesmith.recipe import Recipe
from edgesmith.records import STEP_RECORD_NAME, StepRecord, Structure, read_json, write_json
from edgesmith.search.vocabulary import Gap

WIDE, NARROW = Gap(unseen=0.9, rest=0.2, error=0.1), Gap(unseen=0.3, rest=0.2, error=0.1)
"""For the recipe's budget of 0.5."""


def left_open(recipe: Recipe) -> Recipe:
    return replace(recipe, prune=replace(recipe.prune, vocabulary="auto"))


def measure(run: Path, recipe: Recipe, gap: Gap | None = None, teacher_drop: float = 0.0) -> StepRecord:
    """Goes as far as the trial of the vocabulary, and lets it have ended with a `gap` or a `teacher_drop`."""
    with pytest.raises(KeyboardInterrupt):
        compress(left_open(recipe), run, Listener(stop_at="01-analyze"))
    file = run / "00-vocabulary" / STEP_RECORD_NAME
    if gap or teacher_drop:
        record = read_json(StepRecord, file)
        write_json(file, replace(record, facts={"gap": gap, "drop": 0.25, "teacher_drop": teacher_drop}))
    return read_json(StepRecord, file)


def kept(run: Path) -> int:
    return int(read_json(StepRecord, run / "01-analyze" / STEP_RECORD_NAME).facts["vocabulary"])


def test_a_few_rows_decide_nothing(copied: Path, recipe: Recipe) -> None:
    record = measure(copied, recipe)
    assert record.facts["gap"] is None
    assert (
        "of 100 validation rows hold words that no training text holds: too few of one kind"
        in record.reasons[1]
    )


def test_the_teacher_reads_with_the_tokens_of_the_training_texts(copied: Path, recipe: Recipe) -> None:
    record, modality = measure(copied, recipe), open_task(left_open(recipe)).modality
    (whole,) = copied.glob("00-finetune/seed-*/model")
    compact = modality.compact(load_classifier(str(whole)).model)
    trimmed, _ = modality.trim(compact, Structure(depth=len(compact.layers)))
    modality.save(trimmed, copied / "trimmed", trimmed=True)
    rows, cut = modality.splits.validation, {"truncation": True, "max_length": recipe.data.max_length}
    truth = [modality.splits.label_names[label] for label in rows.labels]
    right = [
        np.mean(
            [told["label"] == label for told, label in zip(read(list(rows.texts), **cut), truth, strict=True)]
        )
        for read in (pipeline("text-classification", str(folder)) for folder in (whole, copied / "trimmed"))
    ]
    lost = right[0] - right[1]
    assert record.facts["teacher_drop"] == pytest.approx(lost)
    assert f"the teacher loses {100 * lost:.2f} points" in record.reasons[0]


def test_enough_rows_are_compared(copied: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesmith.pipeline.steps.FEWEST_ROWS", 5)
    record = measure(copied, recipe)
    gap = record.facts["gap"]
    rows = int(record.reasons[1].split()[0])
    assert 5 <= rows <= 95
    assert gap["error"] > 0
    lost = (
        record.facts["drop"] * 100
    )  # rows of the student against the teacher's, those of neither kind included
    assert abs(rows * gap["unseen"] + (100 - rows) * gap["rest"] - lost) <= 100 - rows


def test_a_wide_gap_keeps_what_the_letters_can_write(copied: Path, recipe: Recipe) -> None:
    few = kept(copied)
    measure(copied, recipe, WIDE)
    verdict = compress(left_open(recipe), copied, Listener())
    tokenizer = Tokenizer.from_file(str(copied / verdict.bundle / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == kept(copied) > 5 * few
    assert verdict.coverage and verdict.coverage.with_unseen
    assert verdict.coverage.with_unseen.n > verdict.coverage.test.rows_with_trimmed  # kept, yet never seen
    heard = Listener()
    compress(replace(recipe, prune=replace(recipe.prune, vocabulary="letters")), copied, heard)
    assert heard.done == (), "what was settled may be written down"


@pytest.mark.parametrize("gap", [None, NARROW])
def test_a_teacher_that_loses_too_much_keeps_them_too(copied: Path, recipe: Recipe, gap: Gap | None) -> None:
    few = kept(copied)
    measure(copied, recipe, gap, teacher_drop=0.51)
    with pytest.raises(KeyboardInterrupt):
        compress(left_open(recipe), copied, Listener(stop_at="02-distill/trial-tiny"))
    assert kept(copied) > 5 * few


def test_a_narrow_gap_keeps_the_texts_and_its_trial_counts_as_the_candidates(
    copied: Path, recipe: Recipe
) -> None:
    few = kept(copied)
    measure(copied, recipe, NARROW)
    heard = Listener()
    compress(left_open(recipe), copied, heard)
    assert kept(copied) == few
    assert heard.done == ()
    assert "02-distill/trial-tiny" in heard.begun
    assert "02-distill/trial-small" not in heard.begun
    assert '"trial_drop": 0.25' in (copied / "candidates.json").read_text()


def test_a_size_limit_that_more_tokens_cannot_meet_keeps_the_texts(copied: Path, recipe: Recipe) -> None:
    few = kept(copied)
    limited = replace(recipe, budget=replace(recipe.budget, max_size_bytes=600_000))
    measure(copied, limited, WIDE)
    heard = Listener(stop_at="02-distill/trial-tiny")
    with pytest.raises(KeyboardInterrupt):
        compress(left_open(limited), copied, heard)
    assert kept(copied) == few
    assert "no candidate that keeps more tokens is inside the size limit" in heard.lines
