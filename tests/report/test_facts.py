import dataclasses

import pytest

from edgesmith.recipe import Budget
from edgesmith.records import Percentiles
from edgesmith.report import anatomy, choices, facts, story, units
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.report.plots import measured


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.points(0.0123), "1.23 points"),
        (units.points(-0.0123), "-1.23 points"),
        (units.points(-1e-9), "0.00 points"),
        (units.percent(1.0), "100.00 %"),
        (units.score(0.87654, "accuracy"), "87.65 %"),
        (units.score(0.87654, "entity_f1"), "87.65 %"),
        (units.score(0.87654, "matthews_corrcoef"), "87.65"),
        (units.score(-0.05, "spearman"), "-5.00"),
        (units.agreement(0.97, "matthews_corrcoef"), "97.00 %"),  # the share of equal classes
        (units.agreement(0.97, "pearson_spearman"), "97.00"),
        (units.megabytes(2_310_000), "2.31 MB"),
        (units.megabytes(100_000), "0.10 MB"),
        (units.megabytes(1_234), "0.0012 MB"),
        (units.milliseconds(0.0123), "0.012 ms"),
    ],
)
def test_numbers_as_text(text, expected):
    assert text == expected


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"drop": 0.0043}, "and loses 0.43 points of accuracy."),
        ({"drop": -0.0043}, "and gains 0.43 points of accuracy."),
        ({"drop": 0.0}, "loses no accuracy (0.00 points)"),
        ({"drop": -0.00001}, "loses no accuracy (0.00 points)"),
        ({"size_ratio": 12.5}, "is 12.50x smaller"),
        ({"size_ratio": 0.5}, "is 2.00x larger"),
        ({"latency_ratio": 4.0}, "4.00x faster than"),
        ({"latency_ratio": 0.8}, "1.25x slower than"),
    ],
)
def test_the_sentence_says_which_way(write_run, changes, phrase):
    assert phrase in facts.sentence(load_run(write_run(**changes)).verdict)


def test_a_claim_says_what_stands_behind_it(write_run):
    verdict = load_run(write_run(drop_ci95=(0.0, 0.0))).verdict
    size, speed, accuracy = map(str, facts.claims(verdict))
    assert size.startswith(f"Size: {90_876_543 / 2_012_345:.2f}x smaller, weights and graph: 2.01 MB against")
    assert speed.startswith(
        f"Speed: {10.5 / 2.125:.2f}x faster, p50: 2.12 ms against 10.50 ms of the teacher"
    )
    assert accuracy.endswith("2,101 test rows; 95 % interval of the drop 0.00 points to 0.00 points.")


@pytest.mark.parametrize(
    ("task", "metric", "agreement"),
    [
        ("text-classification", "matthews_corrcoef", "97.12 %"),
        ("text-regression", "pearson_spearman", "97.12"),
    ],
)
def test_a_correlation_is_no_per_cent(write_run, task, metric, agreement):
    """As GLUE's tables have it: 93.02, and its drop in points."""
    run = load_run(write_run(task=task, metric=metric, other_metrics={"pearson": (0.9411, 0.9377)}))
    text, page = render_markdown(run), measured.accuracy(run).svg
    for value in ("93.45", "93.02", "94.11", "93.77"):
        assert f"{value} %" not in text
        assert value in text
    assert f"agreement with the teacher | {agreement} |" in text
    assert f"loses 0.43 points of {metric}" in text
    assert "artifact 93.02," in page


def test_budgets_that_were_not_asked_for_are_not_listed(write_run):
    table = facts.budgets(load_run(write_run(budget=Budget())))
    assert table.rows == (("drop", "1.00 points", "0.43 points", "yes"),)


def test_all_budgets_are_listed_with_what_was_measured(write_run):
    budget = Budget(max_drop=0.02, max_size_bytes=100_000, max_latency_ms=2.5, confident=True)
    run = load_run(write_run(budget=budget, passed=False, failed_budgets=(write_run.failed_budget,)))
    assert facts.budgets(run).rows == (
        ("drop", "2.00 points", "0.43 points", "yes"),
        ("drop, worse end of the interval", "2.00 points", "1.07 points", "yes"),
        ("size of everything the device loads", "0.10 MB", "2.35 MB", "no"),
        ("latency p50", "2.50 ms", "2.12 ms", "yes"),
    )


def test_every_row_is_as_long_as_its_header(write_run):
    run = load_run(write_run())
    measured = (facts.budgets(run), facts.comparison(run), facts.details(run.verdict))
    decided = (choices.candidates(run), choices.precision(run), story.path(run), anatomy.anatomy(run))
    for table in (*measured, *decided):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)} == {len(table.align)}
        assert set(table.align) <= {"l", "r"}


def test_other_runtimes_are_listed_where_there_were_any(write_run):
    other = load_run(write_run()).verdict
    assert facts.runtimes(load_run(write_run())).rows == ()
    slower = dataclasses.replace(
        other,
        runtime="litert",
        passed=False,
        latency_ms=Percentiles(p50=4.0, p90=5.0, p99=6.0),
        latency_ratio=2.5,
    )
    assert facts.runtimes(load_run(write_run(alternatives=(slower,)))).rows == (
        ("onnxruntime", "PASS", "93.02 %", "0.43 points", "2.01 MB", "2.12 ms", f"{10.5 / 2.125:.2f}x"),
        ("litert", "FAIL", "93.02 %", "0.43 points", "2.01 MB", "4.00 ms", "2.50x"),
    )


def test_the_install_line_names_the_runtimes_package():
    task = "text-classification"
    assert facts.install_command("onnxruntime", task) == "pip install numpy tokenizers onnxruntime"
    assert facts.install_command("litert", task) == "pip install numpy tokenizers ai-edge-litert"
    assert facts.install_command("executorch", task) == "pip install numpy tokenizers executorch torch"


def test_commands_survive_a_folder_with_spaces():
    command = facts.use_command("my runs/bundle", "text-classification")
    assert command == "python 'my runs/bundle/run.py' \"text\""


def test_a_bundle_of_images_is_used_with_images():
    assert facts.use_command("bundle", "image-classification") == "python bundle/run.py image.png"
    install = facts.install_command("onnxruntime", "image-classification")
    assert install == "pip install numpy pillow onnxruntime"
