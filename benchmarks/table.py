"""One column a run and runtime, from the verdicts: the tables under results/."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgesmith.records import Environment, Verdict
from edgesmith.report.load import Run, load_run


@dataclass(frozen=True)
class Column:
    """What a run reached on one of its runtimes."""

    run: Run
    verdict: Verdict

    @property
    def name(self) -> str:
        return f"{self.run.path.name}, {self.verdict.runtime}"

    @property
    def onnxruntime_fp32_latency_ratio(self) -> str:
        """p50 of the handed-in model in FP32 on ONNX Runtime over the artifact's, from the same interleaved run."""
        for verdict in self.run.verdicts:
            if verdict.runtime == "onnxruntime":
                return f"{verdict.baseline_latency_ms.p50 / self.verdict.latency_ms.p50:.2f}"
        return "-"


FIGURES: tuple[tuple[str, Callable[[Column], object]], ...] = (
    ("seed", lambda one: one.verdict.seed),
    ("passed", lambda one: one.verdict.passed),
    ("structure", lambda one: next((row.name for row in one.run.candidates if row.chosen), "-")),
    ("metric", lambda one: one.verdict.metric),
    ("teacher", lambda one: f"{one.verdict.teacher:.4f}"),
    ("artifact", lambda one: f"{one.verdict.artifact:.4f}"),
    ("int8_teacher", lambda one: f"{one.verdict.int8_baseline:.4f}"),
    ("bag_of_words", lambda one: f"{one.verdict.bow_baseline:.4f}"),
    ("n_test", lambda one: one.verdict.n_test),
    ("drop_points", lambda one: f"{100 * one.verdict.drop:.2f}"),
    ("drop_ci95_low", lambda one: f"{100 * one.verdict.drop_ci95[0]:.2f}"),
    ("drop_ci95_high", lambda one: f"{100 * one.verdict.drop_ci95[1]:.2f}"),
    ("validation_drop_points", lambda one: f"{100 * one.verdict.validation_drop:.2f}"),
    ("agreement", lambda one: f"{one.verdict.agreement:.4f}"),
    ("model_size_bytes", lambda one: one.verdict.model_size_bytes),
    ("size_bytes", lambda one: one.verdict.size_bytes),
    ("size_ratio", lambda one: f"{one.verdict.size_ratio:.2f}"),
    ("p50_ms", lambda one: f"{one.verdict.latency_ms.p50:.3f}"),
    ("p99_ms", lambda one: f"{one.verdict.latency_ms.p99:.3f}"),
    ("fp32_p50_ms", lambda one: f"{one.verdict.baseline_latency_ms.p50:.3f}"),
    ("latency_ratio", lambda one: f"{one.verdict.latency_ratio:.2f}"),
    ("int8_latency_ratio", lambda one: f"{one.verdict.int8_latency_ratio:.2f}"),
    ("onnxruntime_fp32_latency_ratio", lambda one: one.onnxruntime_fp32_latency_ratio),
    ("eager_latency_ratio", lambda one: f"{one.verdict.eager_latency_ratio:.2f}"),
    ("mean_tokens", lambda one: f"{one.run.latencies.mean_tokens['fp32']:.1f}"),
    ("timed_inputs", lambda one: one.run.latencies.inputs),
    ("rounds", lambda one: one.verdict.rounds),
    ("threads", lambda one: one.verdict.threads),
    ("load_ms", lambda one: f"{one.verdict.load_ms:.0f}"),
    ("peak_rss_bytes", lambda one: one.verdict.peak_rss_bytes),
    ("total_wall_s", lambda one: f"{sum(one.verdict.wall_s.values()):.0f}"),
)


def header(title: str, environment: Environment) -> list[str]:
    """Title, date, machine and versions."""
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return [
        f"# {title}",
        "",
        f"{datetime.date.today()}, {environment.processor}, {environment.cores} cores, "
        f"{', '.join(environment.features)}; Python {environment.python}, {packages}.",
    ]


def write_table(path: Path, title: str, command: str, folders: Iterable[Path]) -> str:
    """Writes a Markdown table of finished runs, with hardware and date; returns its text."""
    runs = [load_run(folder) for folder in folders]
    columns = [Column(run, verdict) for run in runs for verdict in run.verdicts]
    lines = [
        *header(title, runs[0].environment),
        f"Made by `{command}`. Everything is measured; latencies at batch 1, interleaved in one run for each column.",
        "",
        "| " + " | ".join(["figure", *(one.name for one in columns)]) + " |",
        "| --- " * (len(columns) + 1) + "|",
    ]
    for name, value in FIGURES:
        lines.append("| " + " | ".join([name, *(str(value(one)) for one in columns)]) + " |")
    for step in runs[0].verdict.wall_s:
        seconds = [f"{one.verdict.wall_s.get(step, 0):.0f}" for one in columns]
        lines.append("| " + " | ".join([f"{step}_wall_s", *seconds]) + " |")
    lines += ["", "Candidates considered:", ""]
    for run in runs:
        lines += [f"- {run.path.name}: " + "; ".join(f"{row.name}: {row.decision}" for row in run.candidates)]
    text = "\n".join(lines) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text
