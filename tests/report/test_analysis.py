"""Tables and pages of predictions: what they show is what was computed, and they say that it is predicted."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from edgesmith.analyze.analysis import analyze, ask
from edgesmith.analyze.recommend import recommend
from edgesmith.records import VISION_ZOO, ZOO
from edgesmith.records.analysis import Analysis
from edgesmith.report.analysis import analysis_tables, deadlines, layers, memory, not_met, predictions
from edgesmith.report.prediction import write_analysis, write_recommendation
from edgesmith.report.recommendation import recommendation_table, verdict
from edgesmith.targets import load_target

PI = load_target("raspberry-pi-5")


def analysis(model: str = "tinybert-4", deadline_ms: float | None = None, **asked: object) -> Analysis:
    return analyze(ask(ZOO[model].shape, PI, **asked), model=model, deadline_ms=deadline_ms)


def test_equal_layers_are_told_once_and_the_total_is_last() -> None:
    found = analysis()
    table = layers(found)
    names = [row[0] for row in table.rows]
    assert "attention, each of 4 (layers 0-3)" in names
    assert "FFN, each of 4 (layers 0-3)" in names
    assert names[-1] == "all"
    assert table.rows[-1][1] == f"{found.macs / 1e6:.2f}"
    assert {len(row) for row in table.rows} == {len(table.columns)} == {len(table.align)}


def test_a_layer_that_was_cut_is_told_by_itself() -> None:
    shape = replace(ZOO["tinybert-4"].shape, heads=(12, 6, 12, 12))
    names = [row[0] for row in layers(analyze(ask(shape, PI), model="cut")).rows]
    assert "layer 1 attention" in names
    assert "attention, each of 3 (layers 0-3)" in names


def test_every_table_says_that_it_is_predicted() -> None:
    for table in analysis_tables(analysis(deadline_ms=5)):
        assert "redicted" in " ".join((table.title, *table.notes))


def test_predictions_and_deadlines_have_a_row_each() -> None:
    found = analysis(deadline_ms=5)
    assert len(predictions(found).rows) == len(found.predictions) == 3
    rows = deadlines(found).rows
    assert [row[1] for row in rows] == ["fp32", "fp16", "int8"]
    assert [row[3] for row in rows] == ["meets it" if one.meets else "does not" for one in found.deadlines]
    assert rows[0][4] == f"{found.deadlines[0].largest} tokens"


def test_without_a_deadline_there_is_no_table_of_it() -> None:
    titles = [table.title for table in analysis_tables(analysis())]
    assert not any("deadline" in title for title in titles)


def test_the_largest_step_of_memory_comes_first() -> None:
    found = analysis()
    most = max(found.timeline, key=lambda step: step.live_bytes)
    assert memory(found).rows[0][0] == f"{most.part}: {most.operator}"


def test_what_is_not_met_is_told_with_what_would_meet_it() -> None:
    assert not_met(analysis(deadline_ms=1000)) is None
    assert not_met(analysis()) is None
    told = not_met(analysis("bert-base", deadline_ms=8))
    assert told is not None
    assert re.search(r"meets 8 ms: the fastest, int8, takes a predicted floor of \d+\.\d\d ms", told)
    assert re.search(r"Predicted to meet it: \d+ tokens in int8", told)
    impossible = not_met(analysis(deadline_ms=1e-4))
    assert impossible is not None
    assert "impossible: not even 1 token" in impossible


def test_a_folder_has_page_markdown_plots_and_json(tmp_path: Path) -> None:
    found = analysis(deadline_ms=5)
    write_analysis(found, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"analysis.html", "analysis.md", "analysis.json", "roofline.svg", "activations.svg"}
    page = (tmp_path / "analysis.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "redicted" in page
    assert "://" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", page)
    for name in ("roofline", "activations"):
        root = ElementTree.parse(tmp_path / f"{name}.svg").getroot()  # well-formed by itself
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert f"]({name}.svg)" in (tmp_path / "analysis.md").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "analysis.json").read_text(encoding="utf-8"))
    assert (data["label"], data["macs"]) == ("predicted", found.macs)


def test_without_peak_or_bandwidth_there_is_no_roofline(tmp_path: Path) -> None:
    target = load_target("apple-m2")
    write_analysis(analyze(ask(ZOO["tinybert-4"].shape, target), model="m"), tmp_path)
    assert not (tmp_path / "roofline.svg").exists()
    assert (tmp_path / "activations.svg").exists()


@pytest.mark.parametrize("latency", [10.0, 1e-3])
@pytest.mark.parametrize(
    ("task", "models"), [("text-classification", ZOO), ("image-classification", VISION_ZOO)]
)
def test_a_recommendation_is_a_table_with_a_plot(
    task: str, models: object, latency: float, tmp_path: Path
) -> None:
    found = recommend(task, PI, latency)
    table = recommendation_table(found)
    assert len(table.rows) == len(found.choices) == 2 * len(models)
    assert "redicted" in " ".join(table.notes)
    assert (found.best is None) == verdict(found).startswith("No model")
    write_recommendation(found, tmp_path)
    assert "<svg" in (tmp_path / "recommendation.html").read_text(encoding="utf-8")
    ElementTree.parse(tmp_path / "pareto.svg")
