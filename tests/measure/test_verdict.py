import dataclasses
import math

import pytest

from edgesmith.errors import MeasureError
from edgesmith.measure.quality import PairedQuality
from edgesmith.measure.size import Sizes
from edgesmith.measure.verdict import Evidence, judge
from edgesmith.recipe import Budget, DataConfig, Recipe
from edgesmith.records import (
    Latencies,
    LatencySample,
    RowGroup,
    ScriptPieces,
    TextCoverage,
    Verdict,
    VocabularyCoverage,
    read_json,
    write_json,
)

P50 = {"artifact": 2.0, "fp32": 10.0, "int8": 5.0, "eager": 30.0}


def latencies(p50=None):
    samples = {name: LatencySample(p50=p, p90=2 * p, p99=3 * p, n=60) for name, p in (p50 or P50).items()}
    return Latencies(samples=samples, rounds=20, inputs=3, threads=1)


def quality(drop=0.004, low=-0.002, high=0.008, n=1000, teacher=0.95):
    return PairedQuality(
        n=n,
        teacher=teacher,
        artifact=teacher - drop,
        drop=drop,
        drop_ci95=(low, high),
        mcnemar_p=0.3,
        agreement=0.97,
    )


EVIDENCE = Evidence(
    runtime="onnxruntime",
    quality=quality(),
    sizes=Sizes(device=2_310_000, model=2_000_000, baseline=20_000_000),
    latencies=latencies(),
    guards=(),
    int8_baseline=0.94,
    bow_baseline=0.80,
    validation_drop=0.003,
    test_is_held_out=True,
    load_ms=12.0,
    peak_rss_bytes=50_000_000,
    bundle="bundle/onnxruntime",
    wall_s={"01-analyze": 1.5},
)


def verdict(budget=None, recipe=None, **changes):
    settings = {"budget": budget or Budget()} | (recipe or {})
    return judge(
        Recipe(model="m", data=DataConfig(path="d"), **settings), dataclasses.replace(EVIDENCE, **changes)
    )


def test_everything_inside_passes():
    result = verdict(Budget(max_drop=0.01, max_size_bytes=2_310_000, max_latency_ms=2.0, confident=True))
    assert result.passed
    assert (result.failed_budgets, result.failed_guards, result.warnings) == ((), (), ())


def test_ratios_are_parent_over_artifact():
    result = verdict()
    assert result.size_ratio == 20_000_000 / 2_000_000
    assert result.latency_ratio == 10.0 / 2.0
    assert result.int8_latency_ratio == 5.0 / 2.0
    assert result.eager_latency_ratio == 30.0 / 2.0
    assert (result.latency_ms.p50, result.latency_ms.p90, result.latency_ms.p99) == (2.0, 4.0, 6.0)
    assert result.baseline_latency_ms.p50 == 10.0


def test_evidence_and_recipe_arrive_unchanged_and_survive_the_file(tmp_path):
    result = verdict(recipe={"seed": 7, "target": "host", "quick": True})
    assert (result.seed, result.quick, result.runtime, result.rounds, result.threads) == (
        7,
        True,
        "onnxruntime",
        20,
        1,
    )
    assert (result.drop, result.drop_ci95, result.n_test) == (0.004, (-0.002, 0.008), 1000)
    write_json(tmp_path / "verdict.json", result)
    assert read_json(Verdict, tmp_path / "verdict.json") == result


@pytest.mark.parametrize(
    ("budget", "key", "message"),
    [
        (Budget(max_drop=0.003), "max_drop", "drop 0.40 points exceeds 0.30 points by 0.10 points (1.3x)"),
        (Budget(max_drop=0.0), "max_drop", "drop 0.40 points exceeds 0 points by 0.40 points"),
        (Budget(max_size_bytes=100_000), "max_size_bytes", "size 2.31 MB exceeds 0.10 MB by 2.21 MB (23.1x)"),
        (
            Budget(max_size_bytes=2_309_999),
            "max_size_bytes",
            "size 2.31 MB exceeds 2.31 MB by 1e-06 MB (1.0x)",
        ),
        (
            Budget(max_latency_ms=0.5),
            "max_latency_ms",
            "latency p50 2.00 ms exceeds 0.50 ms by 1.50 ms (4.0x)",
        ),
        (
            Budget(max_drop=0.005, confident=True),
            "confident",
            "upper end of the drop's 95 % interval 0.80 points exceeds 0.50 points by 0.30 points (1.6x)",
        ),
    ],
)
def test_each_budget_fails_alone(budget, key, message):
    result = verdict(budget)
    assert not result.passed
    (failed,) = result.failed_budgets
    assert (failed.budget, failed.message) == (key, message)
    assert failed.value > failed.limit


def test_interval_alone_does_not_fail_unless_asked():
    assert verdict(Budget(max_drop=0.005)).passed


def test_all_budgets_fail_together():
    result = verdict(Budget(max_drop=0.001, max_size_bytes=1, max_latency_ms=0.1, confident=True))
    keys = [failed.budget for failed in result.failed_budgets]
    assert keys == ["max_drop", "max_size_bytes", "max_latency_ms", "confident"]


def test_a_guard_fails_the_run_whatever_the_budget():
    result = verdict(guards=("slower than its parent",))
    assert not result.passed
    assert result.failed_guards == ("slower than its parent",)
    assert result.failed_budgets == ()


def test_a_drop_equal_to_its_limit_passes_however_it_was_parsed():
    budget = Budget(max_drop=0.7 * 0.01)  # a little below 7 / 1000 in binary
    assert budget.max_drop < 7 / 1000
    assert verdict(budget, quality=quality(drop=7 / 1000, low=0.004, high=0.0075)).passed


def test_a_gain_passes_a_zero_budget():
    assert verdict(Budget(max_drop=0.0), quality=quality(drop=-0.01, low=-0.02, high=-0.001)).passed


def test_a_test_split_that_is_too_small_says_how_many_rows_it_takes():
    result = verdict(quality=quality(low=-0.016, high=0.024, n=872))
    rows = math.ceil(872 * (0.020 / 0.01) ** 2)
    assert result.warnings == (
        "the test split is too small for this budget: with 872 rows the drop is known to +-2.00 points, "
        f"the budget is 1.00 points; about {rows:,} rows would be needed, or several seeds",
    )


def test_no_number_of_rows_is_promised_for_a_zero_budget():
    (warning,) = verdict(Budget(max_drop=0.0), quality=quality(drop=0.0)).warnings
    assert "too small" in warning
    assert "rows would be needed" not in warning


@pytest.mark.parametrize(("bow", "points"), [(0.945, "0.50"), (0.96, "-1.00")])
def test_a_weak_teacher_is_named(bow, points):
    (warning,) = verdict(bow_baseline=bow).warnings
    assert warning.startswith(
        f"the teacher (95.00) leads a bag of words ({100 * bow:.2f}) by {points} points"
    )


def test_other_warnings():
    result = verdict(recipe={"quick": True, "target": "raspberry-pi-5"}, test_is_held_out=False)
    quick, carved, elsewhere = result.warnings
    assert "not to be quoted" in quick
    assert "carved" in carved
    assert "not on raspberry-pi-5" in elsewhere


@pytest.mark.parametrize(("share", "warned"), [(1.0, False), (0.95, False), (0.62, True)])
def test_a_busy_machine_is_named(share, warned):
    warnings = verdict(latencies=dataclasses.replace(latencies(), cpu_share=share)).warnings
    assert len(warnings) == warned
    assert not warned or "had 62% of a core" in warnings[0]


def test_a_missing_latency_is_an_error():
    with pytest.raises(MeasureError, match=r"latency of int8, eager is missing, got artifact, fp32"):
        verdict(latencies=latencies({"artifact": 1.0, "fp32": 2.0}))


def coverage(drop=0.0, low=-1.0, scripts=(("Latin", 100, 40),)):
    texts = TextCoverage(rows=100, rows_with_trimmed=30, tokens=1000, trimmed=40, tokens_after=1100)
    interval = (low, 2 * drop - low)
    touched = RowGroup(n=30, teacher=0.9, artifact=0.9 - drop, drop=drop, drop_ci95=interval, mcnemar_p=None)
    pieces = tuple(ScriptPieces(script=name, before=before, after=after) for name, before, after in scripts)
    return VocabularyCoverage(
        validation=texts, test=texts, with_unseen=touched, without_unseen=None, scripts=pieces
    )


@pytest.mark.parametrize(
    ("drop", "low", "warned"),
    [(0.02, 0.01, True), (0.02, -0.01, False), (0.01, 0.005, False), (-0.02, -0.03, False)],
)
def test_rows_with_unseen_tokens_warn_where_they_lose_more_than_the_budget_and_chance(drop, low, warned):
    warnings = verdict(Budget(max_drop=0.01), coverage=coverage(drop, low)).warnings
    assert (len(warnings) == 1) is warned
    assert not warned or "on the 30 test rows with a token that no training text holds" in warnings[0]


def test_scripts_that_lost_all_of_their_many_pieces_are_named_in_one_warning():
    found = coverage(scripts=(("Latin", 100, 40), ("Greek", 130, 0), ("Arabic", 1200, 0), ("Thai", 8, 0)))
    (warning,) = verdict(coverage=found).warnings
    assert "Greek (130 pieces before), Arabic (1,200 pieces before);" in warning
    assert "Latin" not in warning


def test_the_coverage_stands_in_the_verdict_and_survives_the_file(tmp_path):
    result = verdict(coverage=coverage())
    write_json(tmp_path / "verdict.json", result)
    assert read_json(Verdict, tmp_path / "verdict.json") == result
    assert result.coverage == coverage()
