"""`edgesmith export`: a finished model and its plan as a file for a runtime that is not measured here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
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
from edgesmith.pipeline.calibrated import calibration_rows, changes, static_plan
from edgesmith.pipeline.precision import trained_folder
from edgesmith.pipeline.quantizing import QUANTIZATION_NAME
from edgesmith.pipeline.text import compact_texts
from edgesmith.recipe import DataConfig
from edgesmith.records import QUESTION_TASK, TAGGED_TASK, Manifest, Progress, Quantization, Task, read_json
from edgesmith.records.prepared import FORMATS, PreparedRecord
from edgesmith.report.load import PRUNE_STEP, QUANTIZE_STEP, load_run
from edgesmith.runtime.bundle import Bundle, open_bundle

_SEED = 0
"""Of the calibration rows that are drawn."""


@dataclass(frozen=True)
class _Finished:
    """What `compress` or `quantize` left.

    Attributes:
        source: folder or hub id of the model.
        bundle: with the plan.
        data: that it was made with, where that is known.
    """

    source: str
    bundle: Bundle
    data: DataConfig | None = None

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest


def prepare(
    run: Path,
    form: str,
    path: Path,
    runtime: str | None,
    progress: Progress,
    *,
    data: DataConfig | None = None,
    activation_bits: int = 16,
    htp_arch: int | None = None,
) -> PreparedRecord:
    """Writes the model of a finished run in a format of `FORMATS`, and reads it back.

    Args:
        run: folder that `compress` or `quantize` wrote.
        form: name in `FORMATS`.
        path: to write; must not exist.
        runtime: whose plan of the run is taken; None for that of the verdict.
        data: rows to calibrate on, where the format needs some; None for those of the run.
        activation_bits, htp_arch: as in `edgesmith.export.order.Order`.

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
        activation_bits=activation_bits,
        htp_arch=htp_arch,
    )
    if FORMATS[form].calibrated:
        order = replace(order, rows=calibration_rows(found.bundle, _data(found, data, form), _SEED))
    elif data is not None:
        raise RecipeError(f"{form} is not calibrated; leave --data out.")
    model = _load(found)
    if FORMATS[form].static:
        progress.say(f"measuring static inputs on {len(order.rows)} training rows")
        order = replace(order, plan=static_plan(model, order.plan, order.rows))
    progress.say(f"writing {found.source} as the plan for {manifest.runtime} says")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        partial = Path(folder) / path.name
        written = writer.write(model, order, partial)
        partial.rename(path)
    return PreparedRecord(
        path=str(path),
        format=form,
        run=str(run),
        plan_of=manifest.runtime,
        size_bytes=folder_bytes(path) if path.is_dir() else path.stat().st_size,
        file=replace(written, changes=changes(manifest.plan, order.plan) | written.changes),
    )


def _data(found: _Finished, given: DataConfig | None, form: str) -> DataConfig:
    data = given or found.data
    if data is None:
        raise RecipeError(
            f"{form} needs rows to calibrate on, and the run does not say which. Add --data FILE."
        )
    return data


def _check_path(path: Path, suffix: str) -> None:
    if path.suffix != suffix or path.exists():
        why = (
            "exists"
            if path.exists()
            else f"does not end in {suffix}"
            if suffix
            else "is a folder's name with an ending"
        )
        free = path.with_suffix(suffix) if path.suffix != suffix else path.with_stem(f"{path.stem}-2")
        raise RecipeError(f"{path} {why}; give a new name with -o, such as {free}.")


def _open(run: Path, runtime: str | None) -> _Finished:
    if (run / f"{QUANTIZATION_NAME}.json").is_file():
        found = read_json(Quantization, run / f"{QUANTIZATION_NAME}.json")
        _check_has_plan(run, runtime, (found.runtime,))
        is_trained = found.training is not None and found.training.is_kept
        return _Finished(
            str(run / MODEL_FOLDER) if is_trained else found.model, open_bundle(run / found.bundle)
        )
    finished = load_run(run)
    verdicts = {verdict.runtime: verdict for verdict in finished.verdicts}
    _check_has_plan(run, runtime, tuple(verdicts))
    chosen = next(row.name for row in finished.candidates if row.chosen)
    planned_for = runtime or finished.verdict.runtime
    trained = trained_folder(run / QUANTIZE_STEP / chosen, planned_for)
    folder = trained if trained.is_dir() else run / PRUNE_STEP / chosen / MODEL_FOLDER
    bundle = open_bundle(run / verdicts[planned_for].bundle)
    return _Finished(str(folder), bundle, finished.recipe.data)


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
