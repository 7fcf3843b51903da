"""Markdown, terminal and HTML show the records' numbers, and the same ones."""

import html as markup
import io
import re

import pytest
from rich.console import Console

from edgesmith.records import RowGroup, ScriptPieces, TextCoverage, VocabularyCoverage
from edgesmith.report.html import render_html
from edgesmith.report.load import load_run
from edgesmith.report.markdown import render_markdown
from edgesmith.report.terminal import print_report

BAG_OF_WORDS = "a bag of words (TF-IDF and logistic regression)"


def printed(run, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_report(run, console)
    return console.file.getvalue()


def terminal(run):
    return re.sub(r"(?<=\S) {2,}(?=\S)", "|", printed(run, 120))


def markdown(run):
    return render_markdown(run).replace("\\", "")


def html(run):
    """What a reader sees of the page, a table row a line; without the plots."""
    body = render_html(run).partition("<body>")[2]
    body = re.sub(r"<svg.*?</svg>", "", body, flags=re.DOTALL)
    body = re.sub(r"<tr>.*?</tr>", lambda row: f"\n{'|'.join(in_cells(row[0]))}\n", body, flags=re.DOTALL)
    return markup.unescape(re.sub(r"<[^>]+>", "", body))


def in_cells(row):
    return re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)


@pytest.fixture(params=[terminal, markdown, html], ids=["terminal", "markdown", "html"])
def render(request):
    return request.param


def cells(text, start):
    """Cells of the first table row that starts with `start`."""
    rows = ([cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines())
    return next(row for row in rows if row[0] == start and len(row) > 1)


def said(text):
    """Without line ends and frames."""
    return " ".join(re.sub("[│*|]", " ", text).split())


def test_comparison_equals_the_records(write_run, render):
    run = load_run(write_run())
    text, verdict, samples = render(run), run.verdict, run.latencies.samples
    expected = {
        "artifact": (verdict.artifact, verdict.model_size_bytes, "artifact"),
        "teacher FP32": (verdict.teacher, verdict.baseline_size_bytes, "fp32"),
        "teacher INT8": (verdict.int8_baseline, 23_456_789, "int8"),
    }
    for name, (accuracy, size_bytes, sample) in expected.items():
        timed = samples[sample]
        ratio = f"{timed.p50 / samples['artifact'].p50:.2f}x"
        assert cells(text, name) == [
            name,
            f"{accuracy:.2%}".replace("%", " %"),
            f"{size_bytes / 1e6:.2f} MB",
            *(f"{value:.2f} ms" for value in (timed.p50, timed.p90, timed.p99)),
            "-" if sample == "artifact" else ratio,
        ]
    assert cells(text, "teacher PyTorch")[1:] == [
        "same",
        "90.88 MB",
        "30.75 ms",
        f"{30.75 * 1.5:.2f} ms",
        f"{30.75 * 2.5:.2f} ms",
        f"{30.75 / 2.125:.2f}x",
    ]
    assert cells(text, "bag of words") == ["bag of words", "81.23 %", *"-----"]


def test_verdict_sentence_equals_the_records(write_run, render):
    text = said(render(load_run(write_run())))
    assert "PASS" in text
    assert "FAIL" not in text
    smaller, faster = f"{90_876_543 / 2_012_345:.2f}x smaller", f"{10.5 / 2.125:.2f}x faster"
    assert (
        f"The artifact is {smaller} and {faster} than its teacher, and loses 0.43 points of accuracy." in text
    )
    assert "weights and graph: 2.01 MB against 90.88 MB of the teacher's FP32 weights" in text
    assert "p50: 2.12 ms against 10.50 ms of the teacher in FP32 on onnxruntime, measured" in text
    assert (
        "against the teacher's 93.45 % on 2,101 test rows; 95 % interval of the drop -0.21 points to 1.07 points"
        in text
    )


def test_the_teacher_stands_beside_a_bag_of_words(write_run, render):
    text = said(render(load_run(write_run())))
    ahead = f"{100 * (0.9345 - 0.8123):.2f} points"
    assert f"The teacher itself: 93.45 %, {ahead} above {BAG_OF_WORDS} with 81.23 %." in text
    text = said(render(load_run(write_run("weak", bow_baseline=0.95))))
    assert f"The teacher is no stronger than {BAG_OF_WORDS}: 93.45 % against 95.00 %. A small drop" in text


def test_what_each_step_left(write_run, render):
    run = load_run(write_run())
    text, weights = render(run), run.weight_bytes["03-prune/half"]
    assert cells(text, "teacher, FP32") == ["teacher, FP32", "90.88 MB", "95.12 %", "10.50 ms"]
    assert cells(text, "distilled to 3 layers") == ["distilled to 3 layers", "-", "94.56 %", "-"]
    assert cells(text, "pruned and recovered")[1:] == [f"{weights / 1e6:.2f} MB", "94.89 %", "-"]
    left = [row for row in text.splitlines() if "artifact" in row and "2.01 MB" in row][-1]
    assert f"{95.12 - 0.31:.2f} %" in left


def test_conditions_name_machine_and_counts(write_run, render):
    text = said(render(load_run(write_run())))
    assert (
        "Measured on Example CPU (2 cores), 1 thread, batch 1, 64 real inputs, mean 24.5 tokens x 20 interleaved "
        "rounds = 1,280 observations of each model. Accuracy on 2,101 held-out test rows." in text
    )


def test_details_equal_the_records(write_run, render):
    text = render(load_run(write_run()))
    assert cells(text, "agreement with the teacher")[1] == "97.12 %"
    assert cells(text, "McNemar's p (exact)")[1] == "0.213"
    assert cells(text, "drop on validation rows, which decisions were made on")[1] == "0.31 points"
    assert cells(text, "everything the device loads")[1] == "2.35 MB"
    assert cells(text, "time to open")[1] == "12.34 ms"
    assert cells(text, "peak resident memory")[1] == "56.78 MB"
    assert cells(text, "the whole run")[1] == f"{10.4 + 20.1:.0f} s"


def test_candidates_say_what_was_measured_and_what_predicted(write_run, render):
    text = render(load_run(write_run()))
    shape = "3 layers, 15 heads, 1,800 FFN neurons, 10,512 tokens of rank 128"
    half = ["half", "3", "2.10 MB", "2.20 ms measured", "1.23 points", "-0.04 points"]
    assert cells(text, "half") == half
    assert cells(text, "wide") == ["wide", "3", "5.50 MB", "4.40 ms predicted", "-", "-"]
    assert text.index("half: smallest inside the budget") < text.index("wide: larger than needed")
    assert f"half: smallest inside the budget. {shape}." in said(text)
    assert "predicted size" in text


def test_a_failed_run_says_what_failed(write_run, render):
    run = load_run(
        write_run(
            passed=False, failed_budgets=(write_run.failed_budget,), failed_guards=("collapsed to class 1",)
        )
    )
    text = render(run)
    assert "FAIL" in text
    assert "PASS" not in text
    assert "size 2.35 MB exceeds 0.10 MB by 2.25 MB (23.5x)" in said(text)
    assert "collapsed to class 1" in text
    assert cells(text, "size of everything the device loads")[-1] == "no"


def test_a_quick_run_is_stamped(write_run, render):
    text = said(render(load_run(write_run(quick=True))))
    assert "QUICK" in text
    assert "not to be quoted" in text
    assert "QUICK" not in render(load_run(write_run()))


def test_warnings_are_shown_as_they_are(write_run, render):
    warning = "odd labels [SEP] [/red] <s> a|b *c* in [bold]data[/bold]"
    text = render(load_run(write_run(warnings=(warning,))))
    assert said(warning) in said(text)


def test_carved_test_rows_are_not_called_held_out(write_run, render):
    text = said(render(load_run(write_run(test_is_held_out=False))))
    assert "2,101 carved test rows" in text


@pytest.mark.parametrize("drop", [0.0, -0.02, 0.5])
def test_odd_values_that_are_valid(write_run, render, drop):
    run = load_run(
        write_run(
            drop=drop,
            drop_ci95=(drop, drop),
            wall_s={},
            size_ratio=0.5,
            latency_ratio=0.1,
            n_test=1,
            candidates=(),
            mcnemar_p=1.0,
        )
    )
    text = render(run)
    assert "2.00x larger" in text
    assert "10.00x slower" in text


@pytest.mark.parametrize("length", [10, 170])
def test_long_names_are_shown_whole(write_run, render, length):
    name = ("depth-3_heads-0.5_neurons-0.4_rank-128_vocabulary-10512_" * 4)[:length]
    text = render(load_run(write_run(candidates=(write_run.candidate(name),))))
    assert name in "".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_of_any_width_cuts_nothing(write_run, width):
    run = load_run(write_run(candidates=(write_run.candidate("tiny", chosen=True, decision="d"),)))
    text = printed(run, width)
    commands = ("python ", "Try it:", "On the device:", "Reproduce:", "Report:")
    assert max(len(line) for line in text.splitlines() if not line.startswith(commands)) <= width
    assert text.count("…") == 0
    assert f"{10.5 / 2.125:.2f}x faster" in said(text)


def test_at_80_columns_no_number_is_torn_from_its_unit(write_run):
    lines = printed(load_run(write_run()), 80).splitlines()
    rows = [
        line.split() for line in lines if line.startswith(("artifact ", "teacher FP32 ", "teacher INT8 "))
    ]
    assert " ".join(rows[0]) == "artifact 93.02 % 2.01 MB 2.12 ms 3.19 ms 5.31 ms -"
    assert [len(row) for row in rows[:3]] == [12, 13, 13]


def test_trimmed_tokens_equal_the_records(write_run, render):
    texts = TextCoverage(rows=200, rows_with_trimmed=30, tokens=4000, trimmed=50, tokens_after=4200)
    touched = RowGroup(n=30, teacher=0.9, artifact=0.8, drop=0.1, drop_ci95=(0.05, 0.2), mcnemar_p=0.04)
    scripts = tuple(
        ScriptPieces(script=name, before=9, after=after) for name, after in (("Thai", 0), ("Latin", 1))
    )
    found = VocabularyCoverage(
        validation=texts, test=texts, with_unseen=touched, without_unseen=None, scripts=scripts
    )
    text = said(render(load_run(write_run(coverage=found))))
    share, growth = (f"{100 * value:.2f} %" for value in (50 / 4000, 200 / 4000))
    amount = f"{share} of 4,000 tokens trimmed away, in 30 of 200 rows; {growth} longer"
    for row in (
        f"validation texts {amount}",
        f"test texts {amount}",
        "test rows with a token of no training text accuracy: teacher 90.00 %, artifact 80.00 %, drop 10.00 points "
        "(95 % interval 5.00 points to 20.00 points), 30 rows",
        "test rows without no row",
        "scripts left in single characters only Thai (before: 9 longer pieces)",
    ):
        assert row in text


def test_without_trimming_there_is_no_table_of_it(write_run, render):
    assert "trimmed away" not in render(load_run(write_run()))
