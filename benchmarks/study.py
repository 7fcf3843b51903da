"""What the studies of devices share: options, cells that are measured once, timed shapes, pages under results/.

torch is loaded where something is built; predictions alone need none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from table import header

from edgesmith.analyze.operators import Shape, image_pixels, is_of_images
from edgesmith.errors import ExportError
from edgesmith.measure.inputs import random_tokens
from edgesmith.measure.latency import time_interleaved
from edgesmith.records import (
    VISION_ZOO,
    ZOO,
    VisionModel,
    ZooModel,
    describe_environment,
    find_zoo_model,
    to_dict,
    write_text,
)
from edgesmith.report.facts import Table
from edgesmith.report.markdown import render_table
from edgesmith.report.plots.svg import Plot
from edgesmith.report.prediction import standalone
from edgesmith.runtime.predictor import open_session
from edgesmith.targets import Target, load_target, save_target, shipped_names

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "onnxruntime", "ai-edge-litert", "litert-torch", "numpy")
INPUTS, WARMUP = 4, 2
PRECISIONS = ("fp32", "int8")

SIZES = ((2, 64), (2, 128), (4, 256), (6, 384), (4, 512), (8, 512), (6, 768), (12, 768))
"""Layers and width of BERT shapes with heads of 64, from 2 to 110 M parameters."""


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every study."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="where finished cells are kept")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="where the page is written")
    return parser


def cell(path: Path, measure: Callable[..., Any], **asked: Any) -> Any:
    """What was measured by ``measure(**asked)`` and kept in a file of JSON; where it was asked otherwise, it is measured."""
    kept = _read(path)
    if kept.get("asked") != to_dict(asked):
        kept = {"asked": to_dict(asked), "found": to_dict(measure(**asked))}
        write_text(path, json.dumps(kept, indent=1))
        print(f"measured {path.stem}", flush=True)
    return kept["found"]


def found_in(path: Path) -> Any:
    """What a cell holds, whatever was asked; empty where there is none."""
    return _read(path).get("found", {})


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def calibrated(runtime: str, folder: Path) -> Target:
    """This machine's profile by a runtime, one thread, measured once."""
    path = folder / f"host-{runtime}.yaml"
    if not path.is_file():
        from rich.console import Console

        from edgesmith.pipeline import calibrate
        from edgesmith.report.progress import RichProgress

        with RichProgress(Console(stderr=True)) as progress:
            save_target(calibrate("host", [1], progress, runtime=runtime), path)
    return load_target(str(path))


def time_model(model: ZooModel | VisionModel, runtime: str, lengths: Sequence[int], rounds: int) -> Any:
    """Length -> precision -> p50, p90, p99 and n of a model with random weights, FP32 and INT8 in turns, one thread.

    Returns:
        With the share of a core that the timed run had; ``{"failed": why}`` where the runtime's exporter refuses it.
    """
    from edgesmith.models.device import prepare_torch
    from edgesmith.models.zoo import build_vision_model, build_zoo_model

    prepare_torch(1)
    built = build_zoo_model(model) if isinstance(model, ZooModel) else build_vision_model(model)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for length in lengths:
            most = length if runtime == "litert" else max(lengths)  # whose shapes are static: a file a length
            files = {name: Path(folder) / f"{name}-{most}" for name in PRECISIONS}
            try:
                if not files["int8"].exists():
                    write_files(built, runtime, files, most)
            except ExportError as problem:
                return {"failed": str(problem)}
            runs = {name: open_session(runtime, path).run for name, path in files.items()}
            timed = time_interleaved(
                runs,
                dict.fromkeys(runs, feeds(model.shape, length)),
                rounds=rounds,
                threads=1,
                mean_tokens={},
                warmup=WARMUP,
            )
            found[str(length)] = to_dict(timed.samples) | {"cpu_share": timed.cpu_share}
    return found


def write_files(built: Any, runtime: str, files: dict[str, Path], length: int) -> None:
    """The model in FP32, and with every weight matrix in INT8 as a run's baseline is written."""
    from edgesmith.compress.quantize import uniform_plan
    from edgesmith.export import exporter

    writer, fixed = exporter(runtime), {"is_fixed": True} if runtime == "litert" else {}
    writer.export_graph(built, files["fp32"], max_length=length, pairs=False, **fixed)
    writer.lower(files["fp32"], uniform_plan(built, "every weight matrix"), files["int8"])


def feeds(shape: Shape, length: int) -> list[dict[str, np.ndarray]]:
    """Inputs of random tokens without padding, or of random pixels; batch 1."""
    if not is_of_images(shape):
        return random_tokens(shape.vocab, length, INPUTS)
    side = image_pixels(shape)
    pixels = np.random.default_rng(0).standard_normal((INPUTS, 1, 3, side, side), dtype=np.float32)
    return [{"pixel_values": image} for image in pixels]


def berts(sizes: Sequence[tuple[int, int]] = SIZES) -> dict[str, ZooModel]:
    """``LAYERS/WIDTH`` -> a BERT of that shape."""
    base, found = ZOO["bert-base"], {}
    for depth, width in sizes:
        shape = replace(
            base.shape,
            hidden=width,
            head_dim=64,
            heads=(width // 64,) * depth,
            neurons=(4 * width,) * depth,
            embedding_rank=width,
        )
        found[f"{depth}/{width}"] = replace(base, name=f"bert-{depth}-{width}", shape=shape)
    return found


def devices() -> Iterator[tuple[Target, str, str]]:
    """(target, unit, precision) of every unit whose peak and bandwidth are published, in INT8 where it executes that."""
    for name in shipped_names():
        target = load_target(name)
        for unit in target.units:
            executed = target.unit(unit).precisions or ()
            peaks = [
                each for each in ("int8", "fp16", "fp32") if each in executed and target.unit(unit).peak(each)
            ]
            if peaks and target.memory_bandwidth_bytes_s:
                yield target, unit, peaks[0]


def lengths_of(model: ZooModel | VisionModel, lengths: Sequence[int]) -> Sequence[int]:
    """An image has its own."""
    return lengths if isinstance(model, ZooModel) else (model.shape.positions,)


def find(name: str) -> ZooModel | VisionModel:
    """A model of either zoo."""
    return VISION_ZOO.get(name) or find_zoo_model(name)


def rows_of(cells: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    """(length, precision, sample) of what `time_model` found."""
    for length, samples in cells.items():
        if length != "failed":
            for precision in PRECISIONS:
                yield int(length), precision, samples[precision]


def write_page(
    folder: Path, name: str, title: str, how: str, tables: Sequence[Table], plots: Sequence[Plot]
) -> None:
    """``NAME.md`` with date, machine and tables, and its plots as ``.svg`` beside it; prints the page.

    Args:
        how: what it was made by, and what is measured and what predicted.
    """
    for plot in plots:
        write_text(folder / f"{plot.name}.svg", standalone(plot))
    parts = [
        "\n".join([*header(title, describe_environment(PACKAGES)), how]),
        *(f"![{plot.title}]({plot.name}.svg)\n\n{plot.caption}" for plot in plots),
        *(render_table(table, level=2) for table in tables),
    ]
    text = "\n\n".join(parts) + "\n"
    write_text(folder / f"{name}.md", text)
    print(text)
