"""`edgesmith prune`: one model, pruned once without retraining, with what every stage of it did to the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgesmith.analyze.cost import macs
from edgesmith.compress.distill import predict_logits
from edgesmith.compress.gates import Batch, Gated, gate_gradients, hidden_gates, layer_gates, unit_gates
from edgesmith.compress.importance import GradientImportance, from_gradients, magnitude_importance
from edgesmith.compress.prune import NEURON_MULTIPLE
from edgesmith.compress.structure import keep_at_sites, keep_hidden, keep_layers
from edgesmith.compress.tuning import tune_masks
from edgesmith.models.coupling import (
    Prunable,
    Shape,
    check_is_prunable,
    prunable_shape,
    sites,
    to_prunable,
    with_hidden,
    with_layers,
    with_units,
)
from edgesmith.models.device import prepare_torch
from edgesmith.models.plain import to_plain
from edgesmith.models.site import Site
from edgesmith.pipeline.bench import model_folder
from edgesmith.pipeline.folder import appearing, check_is_free
from edgesmith.pipeline.limits import PRECISION, Limits
from edgesmith.pipeline.prediction import latency_model
from edgesmith.pipeline.runs import base_key
from edgesmith.pipeline.tasks import Opened, open_finetuned
from edgesmith.recipe import CutConfig, Recipe
from edgesmith.records import (
    STEP_RECORD_NAME,
    KeptUnits,
    Progress,
    Pruning,
    PruningStage,
    StepRecord,
    to_dict,
    write_json,
)
from edgesmith.runtime.judge import Answers
from edgesmith.search.masks import (
    Floats,
    Indices,
    Units,
    drop_least,
    least_cost,
    rearrange,
    search_masks,
    search_masks_within,
)

BATCH = 32
"""Rows at once, for gradients and for tuning."""

Kept = list[Indices]
"""Indices of the units that stay, at each site, of the layers, or of the hidden units."""


def prune(recipe: Recipe, config: CutConfig, out: Path, progress: Progress) -> Pruning:
    """Cuts a fine-tuned model down to a share of its MACs, parameters or predicted latency, without retraining.

    Heads and neurons are chosen by the mask search, rearranged where importance is ``fisher``, and what stays is tuned
    (arXiv:2204.09656). Whole layers and hidden units are dropped from the least important on. The test rows are not read.

    Args:
        recipe: of it only the model, the task, the metric, the data and the seed count; and where latency is limited, target
            and threads.
        out: folder for the model and its ``step.json``; must not exist, or be empty.

    Raises:
        RecipeError: `out` holds something, or nothing would be left of a layer.
        ModelError: the model cannot be loaded, or is not fine-tuned for the task.
        DataError: the data cannot be used.
        UnsupportedError: a family that is not known, or a target that no latency can be predicted for.
    """
    prepare_torch()
    check_is_free(out)
    opened = open_finetuned(recipe, check_is_prunable)
    for note in opened.modality.splits.notes:
        progress.say(note)
    run = _Run(recipe, config, opened, progress)
    kept, student = run.cut()
    return run.finish(kept, student, out)


class _Run:
    """One pruning: the whole model, its limits, and what was found so far."""

    def __init__(self, recipe: Recipe, config: CutConfig, opened: Opened, progress: Progress) -> None:
        self.recipe, self.config, self.opened, self.progress = recipe, config, opened, progress
        self.modality = opened.modality
        self.quality: dict[str, float] = {}
        self.agreement: dict[str, float] = {}
        self.wall_s: dict[str, float] = {}
        self.whole: Prunable = to_prunable(opened.model)
        self.shape: Shape = prunable_shape(self.whole.config)
        lengths = self.modality.validation_rows.lengths
        self.tokens = config.length or round(sum(lengths) / len(lengths))
        self.latency_ms = None if config.latency is None else latency_model(recipe, self.tokens)
        self.limits = Limits(config, self.shape, self.tokens, self.latency_ms)

    @cached_property
    def reference(self) -> Answers:
        """(N,) the whole model's, to the validation rows."""
        return self._answers(self.whole)

    # ---- what is cut

    def cut(self) -> tuple[list[KeptUnits], Prunable]:
        """Which units stay, and the model that is left."""
        kinds = set(self.config.units)
        if kinds == {"layers"}:
            gradients = torch.cat(self._gradients(layer_gates, [1] * self.shape.depth), dim=1)
            return self._drop("layers", gradients, lambda kept: with_layers(self.shape, kept), keep_layers)
        if kinds == {"hidden"}:
            (gradients,) = self._gradients(hidden_gates, [self.shape.hidden])
            return self._drop(
                "hidden units",
                gradients,
                lambda kept: with_hidden(self.shape, len(kept)),
                keep_hidden,
                NEURON_MULTIPLE,
            )
        return self._cut_units()

    def _drop(
        self,
        name: str,
        gradients: Tensor,
        shape_of_kept: Callable[[list[int]], Shape],
        keep: Callable[[Prunable, list[int]], Prunable],
        multiple: int = 1,
    ) -> tuple[list[KeptUnits], Prunable]:
        """Drops layers or hidden units, of which (N, units) gradients tell, from the least important on."""
        importance = self._from(gradients)
        self._measure("before", self.whole)
        with self._stage("search"):
            kept = drop_least(
                importance,
                lambda left: self.limits.costs(shape_of_kept(left.tolist())),
                self.limits.values,
                multiple=multiple,
            ).tolist()
            self.limits.check(
                self.limits.costs(shape_of_kept(kept)), f"{len(kept)} of {len(importance)} {name}"
            )
            student = keep(self.whole, kept)
        self._measure("search", student)
        return [KeptUnits(name=name, units=len(importance), indices=tuple(kept))], student

    def _cut_units(self) -> tuple[list[KeptUnits], Prunable]:
        """Chooses heads and neurons, rearranges them, and tunes what stays."""
        places = sites(self.whole)
        groups = self._groups(places, [np.zeros(site.units) for site in places])
        fewest = self._shape(places, self._everywhere(places, search_masks(groups, least_cost(groups))))
        self.limits.check(
            self.limits.costs(fewest), f"the fewest {' and '.join(self.config.units)} in each layer"
        )
        room = self.limits.left_for(groups)
        self._measure("before", self.whole)
        gradients = self._unit_gradients(places)
        with self._stage("search"):
            importance = self._importance(gradients)
            found = search_masks_within(
                self._groups(places, importance),
                room,
                lambda left: self.limits.is_fast(self._shape(places, self._everywhere(places, left))),
            )
            kept = self._everywhere(places, found)
            student = self._student(kept)
        self._measure("search", student)
        if self.config.importance == "fisher":
            with self._stage("rearrangement"):
                kept = [_rearranged(rows, units) for rows, units in zip(gradients, kept, strict=True)]
                student = self._student(kept)
            self._measure("rearrangement", student)
        scales: list[Tensor | None] = [None] * len(places)
        if self.config.tuning_rows:
            with self._stage("tuning"):
                scales = [*self._tune(student)]
            self._measure("tuning", student)
        return [
            KeptUnits(
                name=_name(places, site),
                units=site.units,
                indices=tuple(units.tolist()),
                scales=None if scale is None else (float(scale.min()), float(scale.max())),
            )
            for site, units, scale in zip(places, kept, scales, strict=True)
        ], student

    def _everywhere(self, places: list[Site], found: Sequence[Indices]) -> Kept:
        """What stays at each site: what was found where units may go, else all."""
        left = iter(found)
        return [next(left) if self._may_go(site) else np.arange(site.units) for site in places]

    def _shape(self, places: list[Site], kept: Kept) -> Shape:
        return with_units(self.shape, places, [len(units) for units in kept])

    def _may_go(self, site: Site) -> bool:
        return site.kind in self.config.units

    def _groups(self, places: list[Site], importance: Sequence[Floats]) -> list[Units]:
        """What is searched: the sites of the kinds that may go."""
        return [
            Units(
                kind=site.kind,
                importance=scores,
                cost=self.limits.unit_costs(places, site),
                multiple=NEURON_MULTIPLE if site.kind == "neurons" else 1,
            )
            for site, scores in zip(places, importance, strict=True)
            if self._may_go(site)
        ]

    def _importance(self, gradients: Sequence[Tensor]) -> list[Floats]:
        if self.config.importance == "magnitude":
            return [each.double().numpy() for each in magnitude_importance(self.whole)]
        return [self._from(rows) for rows in gradients]

    def _student(self, kept: Kept) -> Prunable:
        return keep_at_sites(self.whole, [torch.from_numpy(units) for units in kept])

    def _tune(self, student: Prunable) -> list[Tensor]:
        batches = self._batches(self.config.tuning_rows)
        self.progress.start("tuning masks", self.shape.depth)
        scales = tune_masks(student, self.whole, batches, on_layer=self.progress.advance)
        self.progress.finish()
        return scales

    # ---- what is asked of the model

    def _unit_gradients(self, places: list[Site]) -> list[Tensor]:
        """Of each site, (N, units); none where the weights alone tell."""
        if self.config.importance == "magnitude":
            return []
        return self._gradients(unit_gates, [site.units for site in places])

    def _gradients(self, hang: Gated, units: list[int]) -> list[Tensor]:
        batches = self._batches(self.config.importance_rows)
        with self._stage("importance"):
            self.progress.start("measuring importance", len(batches))
            found = gate_gradients(self.whole, batches, hang, units, on_batch=self.progress.advance)
            self.progress.finish()
        return found

    def _from(self, gradients: Tensor) -> Floats:
        kind: GradientImportance = "fisher" if self.config.importance == "fisher" else "taylor"
        found: Floats = from_gradients(gradients.double(), kind).numpy()
        return found

    def _batches(self, rows: int) -> list[Batch]:
        train = self.modality.splits.train
        drawn = np.random.default_rng(self.recipe.seed).permutation(len(train))[:rows]
        return list(self.modality.encode(train.take(drawn)).batches(BATCH))

    def _answers(self, model: Prunable) -> Answers:
        rows = self.modality.validation_rows
        return rows.answers(predict_logits(model, rows).numpy(), self.modality.judge)

    def _measure(self, stage: PruningStage, model: Prunable) -> None:
        """Answers the validation rows, and books what came of it."""
        with self._stage("evaluation"):
            answers = self.reference if model is self.whole else self._answers(model)
        judge = self.modality.judge
        self.quality[stage] = judge.quality(answers, self.modality.validation_rows.truth)
        self.agreement[stage] = judge.agreement(answers, self.reference)
        place = f"after {stage}" if stage != "before" else stage
        self.progress.say(
            f"{place}: {judge.metric} {self.quality[stage]:.4f} on {len(answers):,} validation rows"
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Books the time of a stage."""
        start = time.monotonic()
        yield
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.monotonic() - start

    # ---- what is handed over

    def finish(self, kept: list[KeptUnits], student: Prunable, out: Path) -> Pruning:
        """Writes the model, reads it back, and counts it."""
        model = to_plain(student, self.opened.model) or student
        with appearing(out) as partial:
            self.modality.save(model, partial)
            again = type(model).from_pretrained(partial)
            left = prunable_shape(again.config)
            pruning = Pruning(
                model=self.recipe.model,
                folder=str(out),
                model_class=type(model).__name__,
                metric=self.modality.judge.metric,
                validation_rows=len(self.reference),
                quality=self.quality,
                agreement=self.agreement,
                kept=tuple(kept),
                tokens=self.tokens,
                macs_before=macs(self.shape, self.tokens),
                macs_after=macs(left, self.tokens),
                parameters_before=_count(self.opened.model),
                parameters_after=_count(again),
                wall_s={name: round(seconds, 2) for name, seconds in self.wall_s.items()},
                predicted_ms=self._predicted_ms(left),
                target=None if self.latency_ms is None else self.recipe.target,
            )
            write_json(partial / STEP_RECORD_NAME, self._record(pruning))
        return pruning

    def _predicted_ms(self, left: Shape) -> tuple[float, float] | None:
        """Before and after, where latency is limited."""
        if self.latency_ms is None:
            return None
        return self.latency_ms(self.shape, PRECISION), self.latency_ms(left, PRECISION)

    def _record(self, pruning: Pruning) -> StepRecord:
        recipe, splits = self.recipe, self.modality.splits
        config = {"prune": to_dict(self.config), "task": recipe.task, "max_length": recipe.data.max_length}
        return StepRecord(
            step="prune",
            key=base_key(model_folder(recipe.model), splits.fingerprint, recipe.seed, config),
            wall_s=sum(self.wall_s.values()),
            config=config,
            facts=to_dict(pruning),
        )


def _name(places: Sequence[Site], site: Site) -> str:
    """Such as ``layer 0 heads``; of several FFNs in a layer with a number."""
    alike = [place for place in places if (place.kind, place.layer) == (site.kind, site.layer)]
    number = f" {alike.index(site)}" if len(alike) > 1 else ""
    return f"layer {site.layer} {site.kind}{number}"


def _rearranged(gradients: Tensor, kept: Indices) -> Indices:
    """By the block of the Fisher information that belongs to a site, of (N, units) gradients."""
    rows = gradients.double().numpy()
    return rearrange(rows.T @ rows, kept)


def _count(model: PreTrainedModel) -> int:
    """Parameters, each once."""
    return sum(parameter.numel() for parameter in model.parameters())
