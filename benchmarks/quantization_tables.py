"""The tables and plots of results/quantization.md, from what `benchmarks/quantization.py` kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study import write_page

from edgesmith.records import NO_NUMBER, Quantization
from edgesmith.report.facts import NONE, Table
from edgesmith.report.plots.precision import sensitivities
from edgesmith.report.plots.svg import LIGHT, Plot, canvas, finish, name_axes, style
from edgesmith.report.units import agreement, nats, percent, score

Found = Mapping[str, Any]
STUDIED = ("FP16", "plan", "plan, 25 %", "plan, 21 %", "plan, 18 %", "INT4")
"""Plans of the study of sizes, the largest first."""
STUDIED_RUNTIME = "onnxruntime"
NAMES = {"plan": "plan, 29 %"}
COLOURS = ("artifact", "attention", "head", "ffn")
"""Of models, in their order."""
DRAWN = ("sst-2", "cifar-10")
"""Models whose layers have a plot."""
MOST_LOST = 0.5
"""Points that a plan may lose, with the interval's worse end."""


def page(folder: Path, studies: Mapping[str, Found]) -> None:
    learnt = [one for one in studies.values() if one["has_learnt"]]
    random = [one for one in studies.values() if not one["has_learnt"]]
    tables = [_compared(one) for one in learnt]
    tables += [_structure(random), _sizes(learnt), _kinds(learnt), _walls(studies.values())]
    with style():
        plots = [*_lines(learnt), *_layers(studies)]
    write_page(
        folder,
        "quantization",
        "Plans against uniform precisions",
        "Made by `python benchmarks/quantization.py --timed --walls`. Everything is measured, through the runtime, one row at a time; "
        "validation rows were carved from train in containment groups. p50: batch 1, one thread, all files of a table in turns.",
        [table for table in tables if table.rows],
        plots,
    )


# ---- plans of a model


def _compared(one: Found) -> Table:
    first = next(iter(_measured(one)))[2]
    metric, rows, tests = first["metric"], first["validation_rows"], first["test"]["rows"]
    timed = one["latency"].get("p50_ms", {})
    notes = [
        f"{metric} on {rows:,} validation rows; test: on {tests:,} rows that nothing was decided on, of GLUE's dev or "
        "CIFAR-10's test; lost: points against FP32, with the 95 % interval; INT8, static: of the MACs",
        "same: answers as FP32's; SQNR: logits against the same plan in PyTorch",
    ]  # fmt: skip
    if timed:
        latency = one["latency"]
        notes.append(
            f"p50 in ms: {latency['n']:,} answers of each file, {latency['cpu_share']:.0%} of a core, inputs of "
            f"{latency['mean_length']:.0f} tokens or patches in the mean"
        )
    notes += [
        f"{runtime}, {plan}: {failure}"
        for runtime, plan, found in _measured(one)
        for failure in found["failures"]
    ]
    notes += [
        f"{runtime}, {plan}: {found['failed']}" for runtime, plan, found in _cells(one) if "failed" in found
    ]
    return Table(
        title=one["title"],
        columns=("runtime", "plan", metric, "lost", "test", "lost", "MB", "of FP32", "INT8", "static", "same", "SQNR dB",
                 "p50 ms", "faster"),
        align="ll" + "r" * 12,
        rows=tuple(_row(runtime, plan, found, timed) for runtime, plan, found in _measured(one)),
        notes=tuple(notes),
    )  # fmt: skip


def _row(runtime: str, plan: str, found: Found, timed: Mapping[str, float]) -> tuple[str, ...]:
    macs, metric, p50 = found["macs"], found["metric"], timed.get(f"{runtime}/{plan}")
    whole = timed.get(f"{runtime}/FP32")
    return (
        runtime,
        NAMES.get(plan, plan),
        score(found["quality"], metric),
        _lost(found),
        score(found["test"]["quality"], metric),
        _lost(found["test"]),
        f"{found['bytes'] / 1e6:.1f}",
        percent(_share(found)),
        f"{macs['static_int8'] + macs['dynamic_int8']:.0%}",
        f"{macs['static_int8']:.0%}",
        agreement(found["agreement"], metric),
        NONE if found["sqnr_db"] is None else f"{found['sqnr_db']:.1f}",
        NONE if p50 is None else f"{p50:.3f}",
        NONE if p50 is None or whole is None else f"{whole / p50:.2f}x",
    )


def _lost(found: Found) -> str:
    lost, low, high = (round(100 * each, 2) + 0.0 for each in (found["drop"], *found["drop_ci95"]))
    return f"{lost:.2f} ({low:.2f} to {high:.2f})"


def _share(found: Found) -> float:
    return float(found["bytes"] / found["baseline_bytes"])


def _cells(one: Found) -> Iterator[tuple[str, str, Any]]:
    for runtime, plans in one["cells"].items():
        for plan, found in plans.items():
            yield runtime, plan, found


def _measured(one: Found) -> Iterator[tuple[str, str, Any]]:
    return ((runtime, plan, found) for runtime, plan, found in _cells(one) if "failed" not in found)


def _structure(random: Sequence[Found]) -> Table:
    """Of models that have learnt nothing."""
    rows = []
    for one in random:
        timed = one["latency"].get("p50_ms", {})
        for runtime, plan, found in _measured(one):
            p50 = timed.get(f"{runtime}/{plan}")
            rows.append(
                (one["title"], runtime, NAMES.get(plan, plan), f"{found['bytes'] / 1e6:.1f}", percent(_share(found)),
                 f"{found['test']['cosine']:.5f}", NONE if p50 is None else f"{p50:.3f}")
            )  # fmt: skip
    return Table(
        title="Structure only",
        columns=("model", "runtime", "plan", "MB", "of FP32", "cosine", "p50 ms"),
        align="lll" + "r" * 4,
        rows=tuple(rows),
        notes=(
            "random weights: what they answer means nothing; cosine of all logits, as one vector, to the file in FP32",
            "MobileBERT has no compact form, without which `edgesmith quantize` makes no plan",
        ),
    )


# ---- the study of claim C3


def _sizes(learnt: Sequence[Found]) -> Table:
    """Model by size: what is lost."""
    rows = []
    for one in learnt:
        cells = one["cells"][STUDIED_RUNTIME]
        rows.append((one["title"], *(_at(cells.get(plan)) for plan in STUDIED), _sweet(_studied(one))))
    return Table(
        title="The sweet spot of each model",
        columns=("model", *(NAMES.get(plan, plan) for plan in STUDIED), f"smallest within {MOST_LOST}"),
        align="l" + "r" * (len(STUDIED) + 1),
        rows=tuple(rows),
        notes=(
            f"points lost on validation rows on {STUDIED_RUNTIME}, with the 95 % interval, and the share of answers that are not "
            f"FP32's; smallest: size in per cent of FP32's where the interval ends at {MOST_LOST} points or less",
        ),
    )


def _at(found: Found | None) -> str:
    if found is None:
        return NONE
    return "no such plan" if "failed" in found else f"{_lost(found)}; {1 - found['agreement']:.2%}"


def _studied(one: Found) -> list[Found]:
    """What was measured of the study of sizes, the smallest first."""
    cells = one["cells"][STUDIED_RUNTIME]
    return sorted((cells[plan] for plan in STUDIED if "bytes" in cells.get(plan, {})), key=_share)


def _sweet(found: Sequence[Found]) -> str:
    inside = (percent(_share(one)) for one in found if 100 * one["drop_ci95"][1] <= MOST_LOST)
    return next(inside, NONE)


def _kinds(learnt: Sequence[Found]) -> Table:
    """Sums of the divergences of all layers, each alone."""
    found = [record for one in learnt for record in one["quantizations"] if record.runtime == STUDIED_RUNTIME]
    titles = [
        one["title"]
        for one in learnt
        if any(each.runtime == STUDIED_RUNTIME for each in one["quantizations"])
    ]
    sums = [_summed(record) for record in found]
    keys = list(dict.fromkeys(key for each in sums for key in each))
    return Table(
        title="What all layers suffer, each quantized alone",
        columns=("model", *(key.replace("_", " ") for key in keys), "worst layer"),
        align="l" + "r" * len(keys) + "l",
        rows=tuple(
            (title, *(nats(each[key]) if key in each else NONE for key in keys), _worst(record))
            for title, each, record in zip(titles, sums, found, strict=True)
        ),
        notes=("sums of mean KL in nats; worst: with static inputs and INT8 weights; a score counts as a normal distribution",),
    )  # fmt: skip


def _summed(record: Quantization) -> dict[str, float]:
    sums: dict[str, float] = {}
    for layer in record.sensitivities.layers:
        parts = {f"weights {key}": value for key, value in layer.weights.items()}
        parts |= {f"inputs {key}": value for key, value in layer.activations.items()}
        for key, value in parts.items():
            if value < NO_NUMBER:
                sums[key] = sums.get(key, 0.0) + value
    return sums


def _worst(record: Quantization) -> str:
    def suffered(layer: Any) -> float:
        return float(layer.weights.get("int8 per_channel", 0.0) + layer.activations.get("static", 0.0))

    worst = max(record.sensitivities.layers, key=suffered)
    return f"{worst.layer}, {nats(suffered(worst))}"


def _walls(studies: Any) -> Table:
    """Seconds of each stage of a whole `edgesmith quantize`."""
    timed = [
        (one["title"], runtime, found) for one in studies for runtime, found in one["wall"].items() if found
    ]
    stages = list(dict.fromkeys(stage for _, _, found in timed for stage in found["wall_s"]))
    return Table(
        title="How long a plan takes",
        columns=("model", "runtime", "threads", *(f"{stage} s" for stage in stages), "all s", "plans tried"),
        align="ll" + "r" * (len(stages) + 3),
        rows=tuple(
            (title, runtime, str(found["threads"]), *(f"{found['wall_s'].get(stage, 0):.0f}" for stage in stages),
             f"{sum(found['wall_s'].values()):.0f}", str(found["trials"]))
            for title, runtime, found in timed
        ),
        notes=("validation: all rows, one at a time, through the runtime",),
    )  # fmt: skip


def _lines(learnt: Sequence[Found]) -> Iterator[Plot]:
    """Loss, and answers that changed, against size."""
    sized = {one["title"]: found for one in learnt if (found := _studied(one))}
    caption = f"On {STUDIED_RUNTIME}, validation rows: all INT4, plans of four sizes, all FP16."
    yield _against_size(
        sized,
        "quantization",
        "Loss against size",
        "points lost",
        f"{caption} With 95 % intervals; points of a size stand beside one another.",
        _loss,
    )
    classes = {title: found for title, found in sized.items() if found[0]["metric"] == "accuracy"}
    yield _against_size(
        classes,
        "quantization-changed",
        "Changed answers against size",
        "per cent of the answers that are not FP32's",
        caption,
        _changed,
    )


def _loss(found: Found) -> tuple[float, float, float]:
    """Points, and how far its interval reaches below and above."""
    lost, (low, high) = found["drop"], found["drop_ci95"]
    return 100 * lost, 100 * (lost - low), 100 * (high - lost)


def _changed(found: Found) -> tuple[float, float, float]:
    return 100 * (1 - found["agreement"]), 0.0, 0.0


def _against_size(
    sized: Mapping[str, Sequence[Found]],
    name: str,
    title: str,
    y: str,
    caption: str,
    measured: Callable[[Found], tuple[float, float, float]],
) -> Plot:
    """A line a model.

    Args:
        measured: what is drawn of a cell, and its interval below and above.
    """
    figure, axes = canvas(300, left=46, bottom=40, top=22)
    told = []
    for number, (model, found) in enumerate(sized.items()):
        sizes = [100 * _share(one) for one in found]
        values, below, above = zip(*map(measured, found), strict=True)
        beside = [size + 0.25 * number for size in sizes] if any(above) else sizes
        axes.errorbar(
            beside, values, (below, above), fmt="o-", color=LIGHT[COLOURS[number]], markersize=5, linewidth=1,
            elinewidth=0.7, label=model,
        )  # fmt: skip
        each = (f"{value:.2f} at {size:.1f} %" for value, size in zip(values, sizes, strict=True))
        told.append(f"{model}: {', '.join(each)}")
    axes.grid()
    axes.legend(frameon=False, fontsize=8)
    name_axes(axes, x="size in per cent of FP32", y=y)
    return finish(figure, name=name, title=title, caption=caption, told="; ".join(told))


def _layers(studies: Mapping[str, Found]) -> Iterator[Plot]:
    for name in DRAWN:
        one = studies.get(name, {"quantizations": ()})
        for record in one["quantizations"]:
            if record.runtime == STUDIED_RUNTIME:
                found = replace(record.sensitivities, model=one["title"])
                yield replace(sensitivities(found), name=f"quantization-{name}")
