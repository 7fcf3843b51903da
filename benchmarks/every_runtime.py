"""One model on every runtime that runs here: size, load time, latency by length, and how near its answers are to PyTorch's.

    python benchmarks/every_runtime.py RUN [folder]

RUN is a finished run of `benchmarks/sst2.py`: its teacher, MiniLM-L6, and its student are two of the four models; the others
are a MobileBERT of random weights and DINOv2-small at 224 pixels, which is looked for in ../shared/models, or where
DINOV2 says. SST-2's dev rows are looked for in ../shared/data/glue/SST-2, or where SST2_DATA says, ImageNet's sample in
../shared/data/imagenet_sample, or where IMAGENET_SAMPLE says. Files stay in the folder, so that a second call only times
them. Writes results/every_runtime.md.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

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
from edgesmith.measure.parity import Parity, check_parity
from edgesmith.measure.size import model_bytes
from edgesmith.models import load_classifier, to_compact_vit
from edgesmith.models.coupling import to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.models.vision import fit_image_size
from edgesmith.models.zoo import build_zoo_model
from edgesmith.records import RUNTIME_NAMES, describe_environment, find_zoo_model, write_text
from edgesmith.report.progress import RichProgress
from edgesmith.runtime.predictor import open_session

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
SST2 = Path(os.environ.get("SST2_DATA", SHARED / "data" / "glue" / "SST-2"))
IMAGES = Path(os.environ.get("IMAGENET_SAMPLE", SHARED / "data" / "imagenet_sample"))
DINOV2 = Path(os.environ.get("DINOV2", SHARED / "models" / "dinov2-small-fp16"))

LENGTHS = (16, 32, 64, 128)
LONGEST, SIDE = 128, 224
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


def read_subjects(run: Path) -> list[Subject]:
    student = next((run / "03-prune").glob("*/model"))
    teacher = next((run / "00-finetune").glob("*/model"))
    found = [_text("MiniLM-L6 on SST-2", teacher), _text("compressed on SST-2", student)]
    mobilebert = build_zoo_model(find_zoo_model("mobilebert"))
    reader = load_classifier(str(teacher)).tokenizer
    found.append(_texts("MobileBERT", mobilebert, reader, rows=32, note="random weights"))
    return [*found, _image()]


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


def _image() -> Subject:
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
    bytes: int
    load_ms: float
    parity: Parity
    p50_ms: Mapping[int, float]


def measure(subject: Subject, files: Mapping[str, tuple[str, Path]], progress: RichProgress) -> tuple[dict[str, Figures], float]:  # fmt: skip
    """The figures of every file, timed in turns, and the least share of a core that the timing had."""
    sessions = {name: open_session(runtime, path, threads=1) for name, (runtime, path) in files.items()}
    p50: dict[str, dict[int, float]] = {name: {} for name in files}
    shares = []
    for length, inputs in subject.timed.items():
        progress.start(f"{subject.name}, {length}", ROUNDS + 2)
        timed = time_interleaved(
            {name: session.run for name, session in sessions.items()},
            dict.fromkeys(sessions, inputs),
            rounds=ROUNDS, threads=1, mean_tokens={}, after_round=progress.advance,
        )  # fmt: skip
        progress.finish()
        shares.append(timed.cpu_share)
        for name, sample in timed.samples.items():
            p50[name][length] = sample.p50
    reference = _reference(subject)
    found = {}
    for name, (runtime, path) in files.items():
        answers = np.concatenate([sessions[name].run(row) for row in subject.rows])
        parity = check_parity(reference, answers, tolerance=np.inf, name=name)
        found[name] = Figures(model_bytes(path), _load_ms(runtime, path), parity, p50[name])
    return found, min(shares)


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


def table(subject: Subject, found: Mapping[str, Figures], refused: Mapping[str, str], share: float) -> list[str]:  # fmt: skip
    lengths = list(subject.timed)
    unit = "pixels" if "pixel_values" in subject.rows[0] else "tokens"
    lines = [
        f"## {subject.name}" + (f" ({subject.note})" if subject.note else ""),
        "",
        "| file | MB | load, ms | " + " | ".join(f"p50 at {length} {unit}, ms" for length in lengths)
        + " | cosine, worst row | largest difference | same label |",
        "| --- |" + " ---: |" * (len(lengths) + 5),
    ]  # fmt: skip
    for name, one in found.items():
        times = " | ".join(f"{one.p50_ms[length]:.2f}" for length in lengths)
        lines.append(
            f"| {name} | {one.bytes / 1e6:.2f} | {one.load_ms:.0f} | {times} | {one.parity.min_cosine:.5f} | "
            f"{one.parity.max_abs_error:.2g} | {one.parity.label_agreement:.2%} |"
        )
    lines += [f"| {name} | {why} |" + " |" * (len(lengths) + 4) for name, why in refused.items()]
    n = len(next(iter(subject.timed.values())))
    lines += ["", f"{n} inputs x {ROUNDS} rounds for each length; agreement over {len(subject.rows):,} rows; {share:.1%} of a core."]  # fmt: skip
    if PLAIN in found:
        ratios = (
            f"{found[PLAIN].p50_ms[length] / found['onnxruntime INT8'].p50_ms[length]:.2f} at {length}"
            for length in lengths
        )
        lines.append(f"{PLAIN} over onnxruntime INT8: {', '.join(ratios)}.")
    return lines


def main(run: Path, folder: Path) -> None:
    prepare_torch(1)
    libraries = ("torch", "transformers", "onnxruntime", "ai-edge-litert", "openvino")
    lines = [
        *header("Every runtime that runs here", describe_environment(libraries)),
        "Made by `python benchmarks/every_runtime.py`. One thread, batch 1; files of one model are timed in turns. INT8 is every weight "
        "matrix per channel, inputs quantized as they arrive. Parity is to the model in PyTorch, FP32.",
    ]  # fmt: skip
    with RichProgress(Console(stderr=True)) as progress:
        for subject in read_subjects(run):
            progress.step(subject.name)
            files, refused = export_all(subject, folder / subject.name.split()[0].lower())
            found, share = measure(subject, files, progress)
            lines += ["", *table(subject, found, refused, share)]
    write_text(ROOT / "results" / "every_runtime.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "runs" / "every_runtime")
