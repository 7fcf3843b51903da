from __future__ import annotations

from dataclasses import replace

import pytest

from edgesmith.records import RANDOM_WEIGHTS, ComparedModel, Comparison, LatencySample, describe_environment
from edgesmith.report.markdown import render_table
from edgesmith.report.zoo import comparison_table


def sample(p50: float) -> LatencySample:
    return LatencySample(p50=p50, p90=2 * p50, p99=3 * p50, n=80)


@pytest.fixture
def comparison() -> Comparison:
    """Two models, the second a quarter of the first."""
    models = tuple(
        ComparedModel(
            name=name, parameters=100_000_000 // cut, macs=1, fp32_bytes=400_000_000 // cut,
            int8_bytes=100_000_000 // cut, fp32_ms=sample(80 / cut), int8_ms=sample(20 / cut), fp32_ratio=float(cut),
            int8_ratio=float(cut), survey_ratio=2.345 if cut > 1 else 1.0,
        )
        for name, cut in (("whole", 1), ("quarter", 4))
    )  # fmt: skip
    return Comparison(
        models=models, weights=RANDOM_WEIGHTS, runtime="onnxruntime", length=128, inputs=4, rounds=20, threads=2,
        seed=0, cpu_share=0.99, date="2026-01-02", environment=describe_environment(()),
    )  # fmt: skip


def test_ratios_stand_beside_the_surveys(comparison: Comparison) -> None:
    table = comparison_table(comparison)
    assert table.rows == (
        ("whole", "100.0", "400.0", "100.0", "80.00", "20.00", "1.00x", "1.00x", "1.0x"),
        ("quarter", "25.0", "100.0", "25.0", "20.00", "5.00", "4.00x", "4.00x", "2.3x"),
    )


def test_the_notes_say_how_it_was_measured_and_that_weights_are_random(comparison: Comparison) -> None:
    notes = " ".join(comparison_table(comparison).notes)
    assert notes.startswith("Random weights: structure and latency only.")
    assert "onnxruntime, 2 threads, batch 1, 128 tokens, 20 interleaved rounds of 4 inputs" in notes
    assert "times as fast as whole" in notes
    assert "busy" not in notes


def test_a_busy_machine_is_told(comparison: Comparison) -> None:
    notes = comparison_table(replace(comparison, cpu_share=0.5)).notes
    assert notes[-1].startswith("The machine was busy: the timed run had 50% of a core")


def test_the_same_table_in_markdown(comparison: Comparison) -> None:
    text = render_table(comparison_table(comparison), level=2)
    assert text.startswith("## Compared\n\n| model | M | FP32 MB |")
    assert "| quarter | 25.0 | 100.0 | 25.0 | 20.00 | 5.00 | 4.00x | 4.00x | 2.3x |" in text
