"""One cut: which units of a model stay, which tokens and which rank of its word table, and what every stage did to the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgesmith.analyze.cost import macs
from edgesmith.compress.distill import predict_logits
from edgesmith.compress.gates import Batch, Gated, gate_gradients, hidden_gates, layer_gates, unit_gates
from edgesmith.compress.importance import GradientImportance, from_gradients, magnitude_importance
from edgesmith.compress.prune import NEURON_MULTIPLE
from edgesmith.compress.structure import factorise_embedding, keep_at_sites, keep_hidden, keep_layers
from edgesmith.compress.tuning import tune_masks
from edgesmith.data.encoding import EncodedRows
from edgesmith.errors import RecipeError
from edgesmith.models.coupling import (
    Prunable,
    Shape,
    prunable_shape,
    sites,
    with_hidden,
    with_layers,
    with_units,
)
from edgesmith.models.families import shape_of
from edgesmith.models.site import Site
from edgesmith.pipeline.limits import PRECISION, Limits
from edgesmith.pipeline.prediction import latency_model
from edgesmith.pipeline.tasks import Opened
from edgesmith.recipe import CutConfig, Recipe
from edgesmith.records import EncoderShape, KeptUnits, Progress, Pruning, PruningStage, Structure
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
from edgesmith.search.structure import RANK_MULTIPLE, rank_of_bytes

BATCH = 32
"""Rows at once, for gradients and for tuning."""

Kept = list[Indices]
"""Indices of the units that stay, at each site, of the layers, or of the hidden units."""


class Cut:
    """What is to be cut of a model that is whole so far.

    Attributes:
        kept: what stays of each group, once `student` was made.
        tokens: of the input that MACs are counted for.
        is_trimmed: whether the student reads other ids than the whole model.

    Args:
        whole: a model of `opened`'s kind, which may have been cut and recovered before.
        reference: (N,) answers to the validation rows that agreement is counted with; None takes those of `whole`.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: CutConfig,
        opened: Opened,
        whole: Prunable,
        progress: Progress,
        reference: Answers | None = None,
    ) -> None:
        self.recipe, self.config, self.progress = recipe, config, progress
        self.modality, self.whole = opened.modality, whole
        self.kept: tuple[KeptUnits, ...] = ()
        self.is_trimmed = config.vocabulary is not None
        self.quality: dict[PruningStage, float] = {}
        self.agreement: dict[PruningStage, float] = {}
        self.wall_s: dict[str, float] = {}
        self.shape: Shape = prunable_shape(whole.config)
        lengths = self.modality.validation_rows.lengths
        self.tokens = config.length or round(sum(lengths) / len(lengths))
        self.latency_ms = None if config.latency is None else latency_model(recipe, self.tokens)
        self.limits = Limits(config, self.shape, self.tokens, self.latency_ms)
        self._reference = reference

    @property
    def reference(self) -> Answers:
        """(N,) what agreement is counted with."""
        return self._whole_answers if self._reference is None else self._reference

    @cached_property
    def _whole_answers(self) -> Answers:
        return self.answers(self.whole, self.modality.validation_rows)

    def student(self) -> Prunable:
        """What is left, not yet recovered."""
        student = self.whole
        if self.config.shares:
            kept, student = self._cut()
            self.kept = tuple(kept)
        else:
            self._measure_whole()
        if self.config.shrinks_table:
            with self._stage("embedding"):
                student = self._shrink_table(student)
            self._measure_student("embedding", student, self.rows)
        return student

    # ---- what is cut

    def _cut(self) -> tuple[list[KeptUnits], Prunable]:
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
        self._measure_whole()
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
        self._measure_student("search", student, self.modality.validation_rows)
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
        self._measure_whole()
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
        self._measure_student("search", student, self.modality.validation_rows)
        if self.config.importance == "fisher":
            with self._stage("rearrangement"):
                kept = [_rearranged(rows, units) for rows, units in zip(gradients, kept, strict=True)]
                student = self._student(kept)
            self._measure_student("rearrangement", student, self.modality.validation_rows)
        scales: list[Tensor | None] = [None] * len(places)
        if self.config.tuning_rows:
            with self._stage("tuning"):
                scales = [*self._tune(student)]
            self._measure_student("tuning", student, self.modality.validation_rows)
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

    # ---- the word table

    def _shrink_table(self, model: Any) -> Any:
        """Drops tokens, and factorises what is left where that is still more than may stay."""
        config, modality = self.config, self.modality
        tokens = modality.vocabulary_size if self.is_trimmed else self.shape.vocab
        rank = None if config.embedding is None else self._rank(tokens, config.embedding)
        if self.is_trimmed:
            smaller, told = modality.trim(model, Structure(depth=len(model.layers), embedding_rank=rank))
        else:
            smaller = model if rank is None else factorise_embedding(model, rank)
            told = [] if rank is None else [f"word table factorised to rank {rank} of {self.shape.hidden}"]
        for text in told:
            self.progress.say(text)
        return smaller

    def _rank(self, tokens: int, share: float) -> int | None:
        """The largest whose factors are within a share of the table; None where the table itself is."""
        shape = shape_of(self.whole.config)
        table = _table_weights(shape)
        most = int(share * table)
        if _table_weights(replace(shape, vocab=tokens)) <= most:
            return None
        least = RANK_MULTIPLE * (tokens + shape.hidden)
        if least > most:
            fewer = "" if self.is_trimmed else ", or --vocabulary letters"
            raise RecipeError(
                f"--embedding {100 * share:g}% is less than a word table of {tokens:,} tokens takes at rank {RANK_MULTIPLE}, "
                f"the smallest. Type: --embedding {ceil(100 * least / table)}%{fewer}."
            )
        return rank_of_bytes(tokens, shape.hidden, most)

    # ---- what it did to the answers

    def answers(self, model: Prunable, rows: EncodedRows) -> Answers:
        """(N,) to rows as the model reads them."""
        return rows.answers(predict_logits(model, rows).numpy(), self.modality.judge)

    @property
    def rows(self) -> EncodedRows:
        """The validation rows as the student reads them."""
        modality = self.modality
        return modality.student_validation_rows if self.is_trimmed else modality.validation_rows

    def _measure_whole(self) -> None:
        with self._stage("evaluation"):
            answers = self._whole_answers
        self._measure("before", answers)

    def _measure_student(self, stage: PruningStage, model: Prunable, rows: EncodedRows) -> None:
        with self._stage("evaluation"):
            answers = self.answers(model, rows)
        self._measure(stage, answers)

    def _measure(self, stage: PruningStage, answers: Answers) -> None:
        """Books what came of (N,) answers to the validation rows."""
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

    # ---- what is told of it

    def pruning(self, model: PreTrainedModel, folder: Path) -> Pruning:
        """What became of the whole model.

        Args:
            model: the student as it was written and read back.
            folder: where it is to lie.
        """
        left = prunable_shape(model.config)
        words = (shape_of(self.whole.config), shape_of(model.config)) if self.config.shrinks_table else None
        return Pruning(
            model=self.recipe.model,
            folder=str(folder),
            model_class=type(model).__name__,
            metric=self.modality.judge.metric,
            validation_rows=len(self.reference),
            quality=dict(self.quality),
            agreement=dict(self.agreement),
            kept=self.kept,
            tokens=self.tokens,
            macs_before=macs(self.shape, self.tokens),
            macs_after=macs(left, self.tokens),
            parameters_before=_count(self.whole),
            parameters_after=_count(model),
            wall_s={name: round(seconds, 2) for name, seconds in self.wall_s.items()},
            vocabulary=words and (words[0].vocab, words[1].vocab),
            table=words and (_table_weights(words[0]), _table_weights(words[1])),
            coverage=self.modality.trim_coverage() if self.is_trimmed else None,
            predicted_ms=self._predicted_ms(left),
            target=None if self.latency_ms is None else self.recipe.target,
        )

    def _predicted_ms(self, left: Shape) -> tuple[float, float] | None:
        """Before and after, where latency is limited."""
        if self.latency_ms is None:
            return None
        return self.latency_ms(self.shape, PRECISION), self.latency_ms(left, PRECISION)


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


def _table_weights(shape: EncoderShape) -> int:
    """Of the word table, with both factors where it is factorised."""
    factor = shape.hidden * shape.embedding_rank if shape.embedding_rank < shape.hidden else 0
    return shape.vocab * shape.embedding_rank + factor
