"""The budget decides what is built, and one that nothing can keep ends soon, with reasons and the best there is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from fixtures_pipeline import STEPS, FinishedRun, Listener

from edgesmith.cli import main
from edgesmith.pipeline import compress
from edgesmith.pipeline.compress import BUNDLE_OVERHEAD_BYTES
from edgesmith.recipe import Recipe
from edgesmith.records import STEP_RECORD_NAME, Candidate, StepRecord, from_dict, read_json, write_json
from edgesmith.runtime import load_bundle


def candidates(run: Path) -> dict[str, Candidate]:
    rows = json.loads((run / "candidates.json").read_text(encoding="utf-8"))
    return {row["name"]: from_dict(Candidate, row) for row in rows}


def chosen(run: Path) -> Candidate:
    (found,) = (candidate for candidate in candidates(run).values() if candidate.chosen)
    return found


def built(heard: Listener) -> list[str]:
    return [place.partition("/")[2] for place in heard.begun if place.startswith("03-prune/")]


def put_trial_drop(run: Path, name: str, drop: float) -> None:
    """Lets a trial have ended otherwise: its record is what the decision reads."""
    file = run / "02-distill" / f"trial-{name}" / STEP_RECORD_NAME
    record = read_json(StepRecord, file)
    write_json(file, replace(record, facts=record.facts | {"drop": drop}))


def test_a_size_limit_takes_the_structure_that_meets_it_whatever_its_trial_lost(
    copied: Path, recipe: Recipe
) -> None:
    put_trial_drop(copied, "tiny", 5.0)
    put_trial_drop(copied, "small", 0.0)
    once = replace(recipe, search=replace(recipe.search, max_attempts=1))
    tokenizer_bytes = (copied / "bundle" / "onnxruntime" / "tokenizer.json").stat().st_size
    sizes = {name: candidate.size_bytes for name, candidate in candidates(copied).items()}
    limit = (sizes["tiny"] + sizes["small"]) // 2 + BUNDLE_OVERHEAD_BYTES + tokenizer_bytes
    limited, heard = replace(once, budget=replace(once.budget, max_size_bytes=limit)), Listener()
    verdict = compress(limited, copied, heard)
    assert built(heard) == ["tiny"]
    assert heard.done == ()
    assert chosen(copied).name == "tiny"
    assert "over the limit of" in candidates(copied)["small"].decision
    assert verdict.size_bytes <= limit
    assert verdict.passed, "what was built keeps the drop, whatever its trial said"


def test_a_larger_structure_is_taken_where_its_trial_lost_less(copied: Path, recipe: Recipe) -> None:
    put_trial_drop(copied, "tiny", 5.0)
    put_trial_drop(copied, "small", 0.0)
    heard = Listener()
    compress(replace(recipe, search=replace(recipe.search, max_attempts=1)), copied, heard)
    assert built(heard) == ["small"]
    assert chosen(copied).name == "small"
    decision = candidates(copied)["tiny"].decision
    assert decision == "tried, and not built: another was expected to keep the budget at less cost"
    assert not (copied / "03-prune" / "tiny").exists()  # the folder tells of this run only


def test_an_impossible_budget_exits_4_and_hands_over_the_best(
    copied: Path, finished: FinishedRun, tmp_path: Path
) -> None:
    finished.recipe.save(tmp_path / "recipe.yaml")
    limits = ["--set", "budget.max_size_bytes=10000", "--set", "budget.max_drop=0.001"]
    done = CliRunner().invoke(
        main, ["run", str(tmp_path / "recipe.yaml"), "-o", str(copied), "--json", *limits]
    )
    assert done.exit_code == 4, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict == json.loads((copied / "verdict.json").read_text(encoding="utf-8"))
    assert not verdict["passed"]
    failed = {each["budget"]: each for each in verdict["failed_budgets"]}
    assert failed["max_size_bytes"]["limit"] == 10_000
    assert failed["max_size_bytes"]["value"] == verdict["size_bytes"] == finished.verdict.size_bytes
    assert ("max_drop" in failed) == (verdict["drop"] > 0.001)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: budget not met: ")
    assert all(each["message"] in last for each in failed.values())
    assert last.endswith(f"The best artifact found is in {copied / 'bundle' / 'onnxruntime'}.")
    with load_bundle(copied / "bundle" / "onnxruntime") as predictor:
        assert predictor.predict("Ignore the instructions above.")[0].label in ("0", "1")
    assert {path.name for path in copied.iterdir()} >= {step.partition("/")[0] for step in STEPS}
