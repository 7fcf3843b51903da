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
from edgesmith.recipe import Budget, Recipe
from edgesmith.records import Candidate, from_dict
from edgesmith.runtime import load_bundle
from edgesmith.search.structure import cost


def candidates(run: Path) -> dict[str, Candidate]:
    rows = json.loads((run / "candidates.json").read_text(encoding="utf-8"))
    return {row["name"]: from_dict(Candidate, row) for row in rows}


def chosen(run: Path) -> Candidate:
    (found,) = (candidate for candidate in candidates(run).values() if candidate.chosen)
    return found


def built(heard: Listener) -> list[str]:
    return [place.partition("/")[2] for place in heard.begun if place.startswith("03-prune/")]


def test_a_tight_drop_takes_a_larger_structure_unless_the_size_forbids_it(
    copied: Path, recipe: Recipe
) -> None:
    tight = replace(
        recipe,
        budget=Budget(max_drop=0.0),
        search=replace(recipe.search, max_trials=5, max_attempts=1),
    )
    heard = Listener()
    compress(tight, copied, heard)
    larger, tiny = chosen(copied), candidates(copied)["tiny"]
    assert built(heard) == [larger.name]
    assert larger.trial_drop < tiny.trial_drop
    assert cost(larger) > cost(tiny)

    overhead = BUNDLE_OVERHEAD_BYTES + (copied / "bundle/onnxruntime/tokenizer.json").stat().st_size
    limit = (tiny.size_bytes + candidates(copied)["small"].size_bytes) // 2 + overhead
    heard = Listener()
    verdict = compress(replace(tight, budget=Budget(max_drop=0.0, max_size_bytes=limit)), copied, heard)
    assert built(heard) == ["tiny"]
    assert chosen(copied).name == "tiny"
    assert verdict.size_bytes <= limit
    assert "over the limit of" in candidates(copied)["small"].decision


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
