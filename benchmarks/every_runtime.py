"""One model on every runtime that runs here: size, load time, latency by length, and how near its answers are to PyTorch's.

    python benchmarks/every_runtime.py RUN [minilm] [compressed] [mobilebert] [dinov2] [--folder FOLDER]

RUN is a finished run of `benchmarks/sst2.py`: its teacher, MiniLM-L6, and its student are two of the four models; the others
are the zoo's MobileBERT with random weights and DINOv2-small at 224 pixels, which is looked for in ../shared/models, or
where DINOV2 says. SST-2's dev rows are looked for in ../shared/data/glue/SST-2, or where SST2_DATA says, ImageNet's sample
in ../shared/data/imagenet_sample, or where IMAGENET_SAMPLE says. Files, and what was measured of them, stay in the folder
(runs/every_runtime): a second call goes on where the first was stopped. Remove it after a change of the exporters: files are
not made again. Writes results/every_runtime.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_dynamic
from PIL import Image
from rich.console import Console
from table import header
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PreTrainedModel,
)

from edgesmith.compress.quantize import uniform_plan
from edgesmith.data.readers import read_table
from edgesmith.errors import EdgesmithError
from edgesmith.export import exporter
from edgesmith.export.onnx_graph import quiet
from edgesmith.measure.latency import time_interleaved
from edgesmith.measure.parity import check_parity
from edgesmith.measure.size import model_bytes
from edgesmith.models import load_classifier, to_compact_vit
from edgesmith.models.coupling import to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.models.vision import fit_image_size
from edgesmith.models.zoo import build_zoo_model
from edgesmith.records import (
    DISTRIBUTION_OF,
    RUNTIME_NAMES,
    describe_environment,
    find_zoo_model,
    from_dict,
    write_json,
    write_text,
)
from edgesmith.report.progress import RichProgress
from edgesmith.runtime.predictor import Session, open_session

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SST2 = Path(os.environ.get("SST2_DATA", SHARED / "data" / "glue" / "SST-2"))
IMAGES = Path(os.environ.get("IMAGENET_SAMPLE", SHARED / "data" / "imagenet_sample"))
DINOV2 = Path(os.environ.get("DINOV2", SHARED / "models" / "dinov2-small-fp16"))

LENGTHS = (16, 32, 64, 128)
LONGEST, SIDE = 128, 224
BUCKET_CASES = ((128, True), (128, False), (512, False))
"""Longest input of LiteRT's files whose bytes are compared, and whether there is that bucket only."""
INPUTS, ROUNDS = 8, 15
PLAIN = "onnxruntime INT8, plain"
"""`quantize_dynamic` with its defaults on what `torch.onnx.export` makes of the model as it is."""

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A model to be measured.

    Attributes:
        origin: as `transformers` has it.
        model: as edgesmith exports it.
        rows: whose answers are compared with PyTorch's, each a batch of one.
        timed: length in tokens -> inputs; images have one length.
    """

    name: str
    origin: PreTrainedModel
    model: PreTrainedModel
    rows: Sequence[Feeds]
    timed: Mapping[int, Sequence[Feeds]]
    note: str


def _teacher(run: Path) -> Path:
    return next((run / "00-finetune").glob("*/model"))


def _mobilebert(run: Path) -> Subject:
    model, reader = (
        build_zoo_model(find_zoo_model("mobilebert")),
        load_classifier(str(_teacher(run))).tokenizer,
    )
    return _texts("MobileBERT", model, reader, rows=32, note="random weights")


def _text(name: str, folder: Path) -> Subject:
    loaded = load_classifier(str(folder))
    return _texts(name, loaded.model, loaded.tokenizer, rows=10**6, note="")


def _texts(name: str, model: PreTrainedModel, tokenizer: Any, *, rows: int, note: str) -> Subject:
    sentences = [str(row) for row in read_table(SST2 / "dev.tsv").frame["sentence"]][:rows]
    ids = tokenizer(sentences, truncation=True, max_length=LONGEST)["input_ids"]
    first, last = ids[0][0], ids[0][-1]
    words = [token for row in ids for token in row[1:-1]]

    def cut(length: int, index: int) -> Feeds:
        """Real words in a row, as many as fit."""
        start = index * LONGEST % max(1, len(words) - length)
        return _feeds([first, *words[start : start + length - 2], last])

    timed = {length: [cut(length, index) for index in range(INPUTS)] for length in LENGTHS}
    return Subject(name, model, to_prunable(model), [_feeds(row) for row in ids], timed, note)


def _feeds(ids: Sequence[int]) -> Feeds:
    row = np.array([ids], np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row)}


def _dinov2(_: Path) -> Subject:
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(DINOV2, num_labels=10, attn_implementation="eager")
    model = AutoModelForImageClassification.from_pretrained(DINOV2, config=config, dtype=torch.float32).eval()
    fit_image_size(model, (SIDE, SIDE))
    rows = [{"pixel_values": _pixels(path)} for path in sorted(IMAGES.rglob("*.jp*g"))[:64]]
    timed = {SIDE: rows[:INPUTS]}
    return Subject(
        "DINOv2-small at 224", model, to_compact_vit(model), rows, timed, "a head of random weights"
    )


def _pixels(path: Path) -> NDArray[np.float32]:
    """ImageNet's normalisation; (1, 3, 224, 224)."""
    image = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = (np.asarray(image) / 255 - mean) / std
    return pixels.transpose(2, 0, 1)[None].astype(np.float32)


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "minilm": lambda run: _text("MiniLM-L6 on SST-2", _teacher(run)),
    "compressed": lambda run: _text("compressed on SST-2", next((run / "03-prune").glob("*/model"))),
    "mobilebert": _mobilebert,
    "dinov2": _dinov2,
}


# ---- files


def export_all(subject: Subject, folder: Path) -> tuple[dict[str, tuple[str, Path]], dict[str, str]]:
    """Name -> runtime and file; and name -> why there is none."""
    files: dict[str, tuple[str, Path]] = {}
    refused: dict[str, str] = {}
    for runtime in RUNTIME_NAMES:
        place = folder / runtime
        try:
            for precision in ("fp32", "int8"):
                path = place / precision / exporter(runtime).MODEL_NAME
                _made(path, lambda path=path, runtime=runtime, precision=precision: _export(subject, runtime, precision, path))  # fmt: skip
                files[f"{runtime} {precision.upper()}"] = (runtime, path)
        except EdgesmithError as problem:
            refused[runtime] = str(problem)
    plain = folder / "plain" / "model.onnx"
    try:
        _made(plain, lambda: _export_plain(subject, plain))
        files[PLAIN] = ("onnxruntime", plain)
    except Exception as problem:  # noqa: BLE001 - whatever the exporter raises is the finding
        refused[PLAIN] = f"{type(problem).__name__}: {str(problem).splitlines()[0]}"
    return files, refused


def _made(path: Path, make: Callable[[], None]) -> None:
    """Makes a file where there is none; what was half made is removed."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        make()
    except BaseException:
        shutil.rmtree(path.parent)
        raise


def _export(subject: Subject, runtime: str, precision: str, path: Path) -> None:
    writer, graph = exporter(runtime), path
    if precision == "int8":
        graph = path.parents[1] / "fp32" / path.name
        writer.lower(graph, uniform_plan(subject.model, "to be compared"), path)
    else:
        writer.export_graph(subject.model, graph, max_length=LONGEST, pairs=False)


def _export_plain(subject: Subject, path: Path) -> None:
    names = list(subject.rows[0])
    subject.origin.set_attn_implementation("sdpa")
    example = tuple(torch.from_numpy(np.repeat(value, 2, axis=0)) for value in subject.rows[0].values())
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", max=LONGEST)
    sizes = {name: {0: batch} if name == "pixel_values" else {0: batch, 1: sequence} for name in names}
    graph = path.with_stem("fp32")
    with quiet():
        torch.onnx.export(
            subject.origin, example, graph, dynamo=True, input_names=names, output_names=["logits"],
            dynamic_shapes=sizes, external_data=False, verbose=False,
        )  # fmt: skip
        _forget_shapes(graph)
        quantize_dynamic(graph, path)
    graph.unlink()


def _forget_shapes(path: Path) -> None:
    """Those of inner values, which the exporter leaves stale: `quantize_dynamic` fails on them."""
    model = onnx.load(path)
    del model.graph.value_info[:]
    onnx.save(model, path)


# ---- figures


@dataclass(frozen=True)
class Figures:
    """Of one file.

    Attributes:
        cosine: of all logits of all rows, as one vector, to PyTorch's. That of a row of two logits would be 1 or -1.
        difference: the largest of a logit, as a part of the largest logit.
        agreement: rows with PyTorch's label, of all.
    """

    bytes: int
    load_ms: float
    cosine: float
    difference: float
    agreement: float


@dataclass(frozen=True)
class Timing:
    """Of all files on inputs of one length.

    Attributes:
        p50_ms: by the file's name.
        cpu_share: of a core that the timing had.
    """

    p50_ms: dict[str, float]
    cpu_share: float


Cell = TypeVar("Cell", Figures, Timing)


def _cell(path: Path, kind: type[Cell], files: Sequence[Path], measure: Callable[[], Cell]) -> Cell:
    """What was measured of the same files on this machine before; else it is measured, and written down."""
    state = [describe_environment(()).processor, ROUNDS, *(file.stat().st_mtime_ns for file in files)]
    if path.exists() and (held := json.loads(path.read_text(encoding="utf-8")))["of"] == state:
        return from_dict(kind, held["found"])
    found = measure()
    write_json(path, {"of": state, "found": found})
    return found


def measure(
    subject: Subject, files: Mapping[str, tuple[str, Path]], folder: Path, progress: RichProgress
) -> tuple[dict[str, Figures], dict[int, Timing]]:
    """The figures of every file, and by length those that were timed in turns."""
    paths, sessions = [path for _, path in files.values()], _Sessions(files)
    timings = {
        length: _cell(
            folder / f"p50-{length}.json",
            Timing,
            paths,
            lambda length=length: _time(subject, length, sessions, progress),
        )
        for length in subject.timed
    }
    figures = {
        name: _cell(
            path.with_name("figures.json"),
            Figures,
            [path],
            lambda name=name: _figures(subject, name, sessions),
        )
        for name, (_, path) in files.items()
    }
    return figures, timings


class _Sessions:
    """Of all files, opened when the first is asked for."""

    def __init__(self, files: Mapping[str, tuple[str, Path]]) -> None:
        self.files = files

    @cached_property
    def opened(self) -> dict[str, Session]:
        return {name: open_session(runtime, path, threads=1) for name, (runtime, path) in self.files.items()}


def _time(subject: Subject, length: int, sessions: _Sessions, progress: RichProgress) -> Timing:
    progress.start(f"{subject.name}, {length}", ROUNDS + 2)
    timed = time_interleaved(
        {name: session.run for name, session in sessions.opened.items()},
        dict.fromkeys(sessions.opened, subject.timed[length]),
        rounds=ROUNDS, threads=1, mean_tokens={}, after_round=progress.advance,
    )  # fmt: skip
    progress.finish()
    return Timing({name: sample.p50 for name, sample in timed.samples.items()}, timed.cpu_share)


def _figures(subject: Subject, name: str, sessions: _Sessions) -> Figures:
    wanted = _reference(subject)
    found = np.concatenate([sessions.opened[name].run(row) for row in subject.rows])
    parity = check_parity(wanted, found, tolerance=np.inf, name=name)
    together = check_parity(wanted.reshape(1, -1), found.reshape(1, -1), tolerance=np.inf, name=name)
    return Figures(
        bytes=model_bytes(sessions.files[name][1]),
        load_ms=_load_ms(*sessions.files[name]),
        cosine=together.min_cosine,
        difference=parity.max_abs_error / float(np.abs(wanted).max()),
        agreement=parity.label_agreement,
    )


@torch.inference_mode()
def _reference(subject: Subject) -> NDArray[np.float32]:
    rows = ({name: torch.from_numpy(value) for name, value in row.items()} for row in subject.rows)
    return torch.cat([subject.origin(**row).logits for row in rows]).numpy()


def _load_ms(runtime: str, path: Path) -> float:
    """Median of five, the file in the system's cache."""
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        open_session(runtime, path, threads=1)
        seconds.append(time.perf_counter() - begin)
    return 1e3 * median(seconds)


def table(
    subject: Subject,
    figures: Mapping[str, Figures],
    timings: Mapping[int, Timing],
    refused: Mapping[str, str],
) -> list[str]:
    unit = "pixels" if "pixel_values" in subject.rows[0] else "tokens"
    times = " | ".join(f"p50 at {length} {unit}, ms" for length in timings)
    lines = [
        f"## {subject.name}" + (f" ({subject.note})" if subject.note else ""),
        "",
        f"| file | MB | load, ms | {times} | cosine of all logits | largest difference / largest logit | same label |",
        "| --- |" + " ---: |" * (len(timings) + 5),
    ]
    for name, one in figures.items():
        times = " | ".join(f"{timing.p50_ms[name]:.2f}" for timing in timings.values())
        lines.append(
            f"| {name} | {one.bytes / 1e6:.2f} | {one.load_ms:.0f} | {times} | {one.cosine:.6f} | {one.difference:.2g} | "
            f"{one.agreement:.2%} |"
        )
    lines += [f"| {name} | {why} |" + " |" * (len(timings) + 4) for name, why in refused.items()]
    n, share = len(next(iter(subject.timed.values()))), min(timing.cpu_share for timing in timings.values())
    lines += ["", f"{n} inputs x {ROUNDS} rounds for each length; logits of {len(subject.rows):,} rows; {share:.1%} of a core."]  # fmt: skip
    if PLAIN in figures:
        ratios = (
            f"{timing.p50_ms[PLAIN] / timing.p50_ms['onnxruntime INT8']:.2f} at {length}"
            for length, timing in timings.items()
        )
        lines.append(f"{PLAIN} over onnxruntime INT8: {', '.join(ratios)}.")
    return lines


def bucket_table(subject: Subject, folder: Path) -> list[str]:
    """Bytes of LiteRT's files with one bucket and with more, as far as the model has positions."""
    positions, writer = subject.model.config.max_position_embeddings, exporter("litert")
    rows = []
    for longest, is_fixed in BUCKET_CASES:
        if longest <= positions:
            graph = folder / f"{longest}-{'one' if is_fixed else 'all'}" / "fp32" / writer.MODEL_NAME
            _made(
                graph,
                lambda graph=graph, longest=longest, is_fixed=is_fixed: writer.export_graph(
                    subject.model, graph, max_length=longest, pairs=False, is_fixed=is_fixed
                ),
            )
            file = graph.parents[1] / "int8" / writer.MODEL_NAME
            _made(file, lambda graph=graph, file=file: writer.lower(graph, uniform_plan(subject.model, "to be compared"), file))  # fmt: skip
            name = f"{longest} alone" if is_fixed else f"all to {longest}"
            rows.append((name, graph.stat().st_size, file.stat().st_size))
    _, *alone = rows[0]
    lines = ["| lengths of the LiteRT file | FP32, bytes | INT8, bytes |", "| --- | ---: | ---: |"]
    for name, *sizes in rows:
        cells = [f"{size:,} ({size / one - 1:+.1%})" for size, one in zip(sizes, alone, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main(run: Path, names: Sequence[str], folder: Path) -> None:
    prepare_torch(1)
    libraries = ("torch", "transformers", *DISTRIBUTION_OF.values())
    lines = [
        *header("Every runtime that runs here", describe_environment(libraries)),
        "Made by `python benchmarks/every_runtime.py`. One thread, batch 1; files of one model are timed in turns. INT8 is every weight "
        "matrix per channel, inputs quantized as they arrive. Cosine, difference and label are to the logits of the model in PyTorch, "
        "FP32; the cosine is of the logits of all rows as one vector.",
    ]  # fmt: skip
    with RichProgress(Console(stderr=True)) as progress:
        for name in names:
            subject = SUBJECTS[name](run)
            progress.step(subject.name)
            files, refused = export_all(subject, folder / name)
            figures, timings = measure(subject, files, folder / name, progress)
            lines += ["", *table(subject, figures, timings, refused)]
            if name in ("minilm", "compressed") and "litert" not in refused:
                lines += ["", *bucket_table(subject, folder / name / "buckets")]
    write_text(ROOT / "results" / "every_runtime.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "models", nargs="*", metavar="model", help=f"of {', '.join(SUBJECTS)}; all if left out"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "every_runtime")
    options = parser.parse_args()
    if unknown := set(options.models) - set(SUBJECTS):
        parser.error(f"unknown model {', '.join(sorted(unknown))}; allowed: {', '.join(SUBJECTS)}")
    main(options.run, options.models or list(SUBJECTS), options.folder)
