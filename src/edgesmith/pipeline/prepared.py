"""`edgesmith export`: a finished model and its plan as a file for a runtime that is not measured here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from edgesmith.errors import RecipeError, choose_from
from edgesmith.export import exporter
from edgesmith.export.order import Order
from edgesmith.measure.size import folder_bytes
from edgesmith.models import (
    load_classifier,
    load_image_classifier,
    load_span_finder,
    load_token_classifier,
    to_compact_vit,
)
from edgesmith.pipeline.bench import MODEL_FOLDER
from edgesmith.pipeline.quantizing import QUANTIZATION_NAME
from edgesmith.pipeline.text import compact_texts
from edgesmith.records import QUESTION_TASK, TAGGED_TASK, Manifest, Progress, Quantization, Task, read_json
from edgesmith.records.prepared import FORMATS, PreparedRecord
from edgesmith.report.load import PRUNE_STEP, load_run
from edgesmith.runtime.bundle import open_bundle


@dataclass(frozen=True)
class _Finished:
    """What `compress` or `quantize` left.

    Attributes:
        source: folder or hub id of the model.
        manifest: of its bundle, with the plan.
    """

    source: str
    manifest: Manifest


def prepare(run: Path, form: str, path: Path, runtime: str | None, progress: Progress) -> PreparedRecord:
    """Writes the model of a finished run in a format of `FORMATS`, and reads it back.

    Args:
        run: folder that `compress` or `quantize` wrote.
        form: name in `FORMATS`.
        path: to write; must not exist.
        runtime: whose plan of the run is taken; None for that of the verdict.

    Raises:
        RecipeError: no finished run, a plan that it does not have, or a `path` that exists or ends in another way.
        BundleError: the run's bundle is damaged.
        UnsupportedError: a task, or a plan, that the format has no form for.
        MissingExtraError: the format's extra is not installed.
        ExportError: the file cannot be written, or does not hold what the plan says.
    """
    _check_path(path, FORMATS[form].suffix)
    writer = exporter(form, FORMATS[form].extra)
    found = _open(run, runtime)
    manifest = found.manifest
    order = Order(
        plan=manifest.plan,
        task=manifest.task,
        max_length=manifest.max_length,
        pairs=_has_pairs(manifest),
        labels=manifest.labels,
    )
    progress.say(f"writing {found.source} as the plan for {manifest.runtime} says")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        written = writer.write(_load(found), order, partial)
        partial.rename(path)
    return PreparedRecord(
        path=str(path),
        format=form,
        run=str(run),
        plan_of=manifest.runtime,
        size_bytes=folder_bytes(path) if path.is_dir() else path.stat().st_size,
        file=written,
    )


def _check_path(path: Path, suffix: str) -> None:
    if path.suffix != suffix or path.exists():
        why = "exists" if path.exists() else f"does not end in {suffix}"
        free = path.with_suffix(suffix) if path.suffix != suffix else path.with_stem(f"{path.stem}-2")
        raise RecipeError(f"{path} {why}; give a new name with -o, such as {free}.")


def _open(run: Path, runtime: str | None) -> _Finished:
    if (run / f"{QUANTIZATION_NAME}.json").is_file():
        found = read_json(Quantization, run / f"{QUANTIZATION_NAME}.json")
        _check_has_plan(run, runtime, (found.runtime,))
        return _Finished(found.model, open_bundle(run / found.bundle).manifest)
    finished = load_run(run)
    verdicts = {verdict.runtime: verdict for verdict in finished.verdicts}
    _check_has_plan(run, runtime, tuple(verdicts))
    chosen = next(row.name for row in finished.candidates if row.chosen)
    folder = run / PRUNE_STEP / chosen / MODEL_FOLDER
    bundle = open_bundle(run / verdicts[runtime or finished.verdict.runtime].bundle)
    return _Finished(str(folder), bundle.manifest)


def _check_has_plan(run: Path, runtime: str | None, runtimes: tuple[str, ...]) -> None:
    if runtime is not None and runtime not in runtimes:
        raise RecipeError(f"{run} has no plan of that name: {choose_from('runtime', runtime, runtimes)}")


def _has_pairs(manifest: Manifest) -> bool:
    return any(spec.name == "token_type_ids" for spec in manifest.inputs)


_LOADERS: dict[Task, Callable[[str, tuple[str, ...]], Any]] = {
    "image-classification": load_image_classifier,
    TAGGED_TASK: load_token_classifier,
    QUESTION_TASK: lambda source, labels: load_span_finder(source),
}
"""Of the tasks that are not one answer to a text."""


def _load(found: _Finished) -> PreTrainedModel:
    """The compact encoder that the plan is for."""
    manifest = found.manifest
    model: PreTrainedModel = _LOADERS.get(manifest.task, load_classifier)(found.source, manifest.labels).model
    if manifest.preprocessing is not None:
        return to_compact_vit(model)
    return compact_texts(model, manifest.max_length, pairs=_has_pairs(manifest))
