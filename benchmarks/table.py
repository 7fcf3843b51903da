"""One row a run, from its verdict: the tables under results/."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path

from edgesmith.report.load import Run, load_run

COLUMNS: tuple[tuple[str, Callable[[Run], object]], ...] = (
    ("seed", lambda run: run.verdict.seed),
    ("passed", lambda run: run.verdict.passed),
    ("structure", lambda run: next((row.name for row in run.candidates if row.chosen), "-")),
    ("teacher_accuracy", lambda run: f"{run.verdict.teacher:.4f}"),
    ("artifact_accuracy", lambda run: f"{run.verdict.artifact:.4f}"),
    ("int8_teacher_accuracy", lambda run: f"{run.verdict.int8_baseline:.4f}"),
    ("bag_of_words_accuracy", lambda run: f"{run.verdict.bow_baseline:.4f}"),
    ("n_test", lambda run: run.verdict.n_test),
    ("drop_points", lambda run: f"{100 * run.verdict.drop:.2f}"),
    ("drop_ci95_low", lambda run: f"{100 * run.verdict.drop_ci95[0]:.2f}"),
    ("drop_ci95_high", lambda run: f"{100 * run.verdict.drop_ci95[1]:.2f}"),
    ("validation_drop_points", lambda run: f"{100 * run.verdict.validation_drop:.2f}"),
    ("agreement", lambda run: f"{run.verdict.agreement:.4f}"),
    ("model_size_bytes", lambda run: run.verdict.model_size_bytes),
    ("size_bytes", lambda run: run.verdict.size_bytes),
    ("size_ratio", lambda run: f"{run.verdict.size_ratio:.2f}"),
    ("p50_ms", lambda run: f"{run.verdict.latency_ms.p50:.3f}"),
    ("p99_ms", lambda run: f"{run.verdict.latency_ms.p99:.3f}"),
    ("fp32_p50_ms", lambda run: f"{run.verdict.baseline_latency_ms.p50:.3f}"),
    ("latency_ratio", lambda run: f"{run.verdict.latency_ratio:.2f}"),
    ("int8_latency_ratio", lambda run: f"{run.verdict.int8_latency_ratio:.2f}"),
    ("eager_latency_ratio", lambda run: f"{run.verdict.eager_latency_ratio:.2f}"),
    ("mean_tokens", lambda run: f"{run.latencies.mean_tokens['fp32']:.1f}"),
    ("timed_inputs", lambda run: run.latencies.inputs),
    ("rounds", lambda run: run.verdict.rounds),
    ("threads", lambda run: run.verdict.threads),
    ("load_ms", lambda run: f"{run.verdict.load_ms:.0f}"),
    ("peak_rss_bytes", lambda run: run.verdict.peak_rss_bytes),
    ("total_wall_s", lambda run: f"{sum(run.verdict.wall_s.values()):.0f}"),
)


def write_table(path: Path, title: str, command: str, folders: Iterable[Path]) -> str:
    """Writes a Markdown table of finished runs, a column a run, with hardware and date; returns its text."""
    runs = [load_run(folder) for folder in folders]
    environment = runs[0].environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    lines = [
        f"# {title}",
        "",
        f"{datetime.date.today()}, {environment.processor}, {environment.cores} cores, "
        f"{', '.join(environment.features)}; Python {environment.python}, {packages}.",
        f"Made by `{command}`. Everything is measured; latencies at batch 1, interleaved in one run for each column.",
        "",
        "| " + " | ".join(["figure", *(run.path.name for run in runs)]) + " |",
        "| --- " * (len(runs) + 1) + "|",
    ]
    for name, value in COLUMNS:
        lines.append("| " + " | ".join([name, *(str(value(run)) for run in runs)]) + " |")
    for step in runs[0].verdict.wall_s:
        seconds = [f"{run.verdict.wall_s.get(step, 0):.0f}" for run in runs]
        lines.append("| " + " | ".join([f"{step}_wall_s", *seconds]) + " |")
    lines += ["", "Candidates considered:", ""]
    for run in runs:
        lines += [f"- {run.path.name}: " + "; ".join(f"{row.name}: {row.decision}" for row in run.candidates)]
    text = "\n".join(lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text
