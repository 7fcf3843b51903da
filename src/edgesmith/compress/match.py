"""What a student computes inside, held against its teacher: which layer follows which, and the sum of the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.compress.losses import attention_loss, hidden_state_loss, relation_heads, relation_loss
from edgesmith.errors import RecipeError
from edgesmith.models.compact import CompactEncoder
from edgesmith.models.coupling import Prunable, Shape, prunable_shape
from edgesmith.models.families import shape_of
from edgesmith.models.insides import Projected, watched
from edgesmith.recipe import MatchConfig
from edgesmith.records import BottleneckShape, EncoderShape


def layer_map(teacher_depth: int, student_depth: int) -> list[int]:
    """The teacher's layer, from 0, that each student layer follows.

    Student layer i follows teacher layer (i + 1) x L / depth, so that the last follows the last (TinyBERT's uniform
    map, arXiv:1909.10351, section 3.1). A teacher of fewer layers is followed by several student layers each.
    """
    return [max(0, round((index + 1) * teacher_depth / student_depth) - 1) for index in range(student_depth)]


def check_match(config: MatchConfig, student: Shape, teacher: EncoderShape, followed: Sequence[int]) -> None:
    """Refuses what cannot be compared.

    Args:
        followed: the teacher's layer of each student layer.

    Raises:
        RecipeError: a layer that the teacher does not have, attention scores of heads that are not as many, or what a
            MobileBERT attends to, which its bottlenecks make of its states.
    """
    layers = f"0 to {teacher.depth - 1}, the layers of the teacher, counted from 0"
    asked = [("relation_layer", config.relation_layer)] if config.relation_layer is not None else []
    for key, layer in [*asked, *(("layer map", layer) for layer in followed)]:
        if not 0 <= layer < teacher.depth:
            raise RecipeError(f"{key}: {layer} is out of range; allowed: {layers}. Give one of them.")
    if len(followed) != student.depth:
        raise RecipeError(
            f"layer map: {len(followed)} layers ({', '.join(map(str, followed))}); allowed: one for each of the "
            f"student's {student.depth}."
        )
    if isinstance(student, BottleneckShape):
        for key in ("attention_weight", "relation_weight"):
            if getattr(config, key):
                raise RecipeError(
                    f"{key} is {getattr(config, key):g}, and the student is a MobileBERT, whose attention reads bottlenecks; "
                    "allowed: 0. Give a hidden_weight or an embedding_weight: they compare the states between its layers."
                )
        return
    for index, layer in enumerate(followed):
        if config.attention_weight and student.heads[index] != teacher.heads[layer]:
            raise RecipeError(
                f"attention_weight is {config.attention_weight:g}, and the student's layer {index} has "
                f"{student.heads[index]} heads, the teacher's layer {layer} {teacher.heads[layer]}; allowed: equal counts. "
                "Set attention_weight to 0 and relation_weight above 0: relations need no equal heads."
            )


class Projections(nn.Module):
    """Learnt maps from a student's width to its teacher's, for hidden states and for embeddings.

    W_h and W_e of TinyBERT (arXiv:1909.10351, equations 8 and 9), one for all layers. They start with orthonormal
    columns or rows, so that lengths are kept; that start is ours. They are thrown away when the student is trained.
    """

    def __init__(self, student: int, teacher: int, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = nn.Linear(student, teacher, bias=False)
        self.embedding = nn.Linear(student, teacher, bias=False)
        for linear in (self.hidden, self.embedding):
            nn.init.orthogonal_(linear.weight, generator=generator)


@dataclass(frozen=True)
class Seen:
    """One run of an encoder over a batch.

    Attributes:
        output: logits and, if they were asked for, hidden states.
        projected: layer -> its queries, keys and values.
    """

    output: Any
    projected: dict[int, Projected]


class Match:
    """Weighted sum of the losses between what a student and its teacher compute inside.

    Of a MobileBERT the states between its layers can be compared, through the projection: the feature map transfer of
    arXiv:2004.02984, section 3.

    Args:
        followed: the teacher's layer of each student layer; None takes `layer_map`.
        seed: of the projections' first weights.

    Attributes:
        projections: to be trained beside the student; None where both have one width.

    Raises:
        RecipeError: as `check_match`.
    """

    def __init__(
        self,
        student: Prunable,
        teacher: CompactEncoder,
        config: MatchConfig,
        *,
        followed: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self._teacher, self._config = teacher.eval(), config
        self.followed: list[int] = []
        self.projections = None
        if not config.matches:
            return  # the student may be of any architecture
        ours, theirs = prunable_shape(student.config), shape_of(teacher.config)
        self.followed = layer_map(theirs.depth, ours.depth) if followed is None else list(followed)
        check_match(config, ours, theirs, self.followed)
        self._last = ours.depth - 1
        self._related = theirs.depth - 1 if config.relation_layer is None else config.relation_layer
        if ours.hidden != theirs.hidden and config.hidden_weight + config.embedding_weight:
            self.projections = Projections(ours.hidden, theirs.hidden, seed=seed)

    def run_student(self, model: nn.Module, inputs: dict[str, Tensor]) -> Seen:
        """The student on a batch, with what the losses need of it."""
        layers = {self._last} if self._config.relation_weight else set()
        if self._config.attention_weight:
            layers |= set(range(len(self.followed)))
        with_states = self._config.hidden_weight + self._config.embedding_weight > 0
        return _run(model, inputs, layers, with_states=with_states)

    @torch.no_grad()
    def run_teacher(self, inputs: dict[str, Tensor]) -> Seen:
        """The teacher on a batch, likewise, and with its hidden states in any case."""
        layers = {self._related} if self._config.relation_weight else set()
        if self._config.attention_weight:
            layers |= set(self.followed)
        return _run(self._teacher, inputs, layers, with_states=True)

    def loss(self, student: Seen, teacher: Seen, mask: Tensor) -> Tensor:
        """The sum, a scalar; in FP32, under autocast too.

        Args:
            mask: (B, S), 1 for the tokens that count.
        """
        with torch.autocast(mask.device.type, enabled=False):
            return self._sum(student, teacher, mask)

    def _sum(self, student: Seen, teacher: Seen, mask: Tensor) -> Tensor:
        config, total = self._config, torch.zeros(())
        if config.hidden_weight:
            total = total + config.hidden_weight * self._hidden(student, teacher, mask)
        if config.embedding_weight:
            total = total + config.embedding_weight * self._embedding(student, teacher, mask)
        if config.attention_weight:
            ours = [student.projected[layer].scores() for layer in range(len(self.followed))]
            theirs = [teacher.projected[layer].scores() for layer in self.followed]
            total = total + config.attention_weight * attention_loss(ours, theirs, mask)
        if config.relation_weight:
            related = student.projected[self._last].all, teacher.projected[self._related].all
            heads = relation_heads(config.relation_heads, *(parts[0].shape[-1] for parts in related))
            total = total + config.relation_weight * relation_loss(*related, mask, heads)
        return total

    def _hidden(self, student: Seen, teacher: Seen, mask: Tensor) -> Tensor:
        ours = student.output.hidden_states[1:]
        if self.projections is not None:
            ours = [self.projections.hidden(state) for state in ours]
        theirs = [teacher.output.hidden_states[layer + 1] for layer in self.followed]
        return hidden_state_loss(ours, theirs, mask, normalise=not self._teacher.has_normed_states)

    def _embedding(self, student: Seen, teacher: Seen, mask: Tensor) -> Tensor:
        ours = student.output.hidden_states[0]
        if self.projections is not None:
            ours = self.projections.embedding(ours)
        return hidden_state_loss([ours], [teacher.output.hidden_states[0]], mask)


def _run(model: Any, inputs: dict[str, Tensor], layers: set[int], *, with_states: bool) -> Seen:
    with watched(model, layers) as projected:
        return Seen(model(**inputs, output_hidden_states=with_states), projected)
