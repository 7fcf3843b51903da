"""Mask tuning: what is left of each layer is rescaled so that the layer's output comes near to the whole model's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.compress.gates import Batch
from edgesmith.data.encoding import model_inputs
from edgesmith.models.coupling import Prunable, layers_path, sites
from edgesmith.models.site import Site

RIDGE = 1.0
"""Weight of the squared distance of a scale from 1, in units of the mean squared output of a unit (LOG.md)."""


@dataclass(frozen=True)
class Moments:
    """Sums over tokens that a least-squares problem is made of.

    Attributes:
        inputs: (K, K), of what a linear layer reads with itself.
        targets: (H, K), of what it should give, without its bias, with what it reads.
    """

    inputs: Tensor
    targets: Tensor

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.inputs + other.inputs, self.targets + other.targets)


def least_squares_scales(moments: Moments, weight: Tensor, width: int, ridge: float = RIDGE) -> Tensor:
    """A scale of each unit, (units,), with which the outputs of a linear layer are nearest to their targets.

    Minimises ``sum over tokens |target - sum_u s_u W_u x_u|^2 + r sum_u (s_u - 1)^2``, where ``W_u`` are the columns of
    unit u, and r is `ridge` times the mean of ``sum over tokens |W_u x_u|^2``. The matrix of the normal equations follows
    from `Moments` alone, so that no unit's output is ever made.

    Args:
        weight: (H, K) of the layer.
        width: columns of a unit.
    """
    weight = weight.double()
    units = weight.shape[1] // width
    products = moments.inputs.double() * (weight.T @ weight)  # (K, K)
    matrix = products.view(units, width, units, width).sum(dim=(1, 3))
    right = (weight * moments.targets.double()).sum(dim=0).view(units, width).sum(dim=1)
    pull = (ridge * matrix.diagonal().mean()).clamp_min(torch.finfo(torch.float64).tiny)
    scales: Tensor = torch.linalg.solve(matrix + pull * torch.eye(units, dtype=torch.float64), right + pull)
    return scales.float()


@torch.no_grad()
def tune_masks(
    student: Prunable,
    teacher: Prunable,
    batches: Sequence[Batch],
    *,
    ridge: float = RIDGE,
    on_layer: Callable[[int], None] = lambda done: None,
) -> list[Tensor]:
    """Rescales a pruned model's heads and neurons, in place, site by site from its input on.

    As in Kwon et al. 2022 (arXiv:2204.09656, section 4.3): the student's site reads what the sites before it, tuned
    already, leave to it, and its residual sum is to equal that of the teacher, which reads its own. Tokens of padding do
    not count. Ours: scales are drawn to 1, not to 0, and the problem is solved directly, not by LSMR.

    Args:
        student: `teacher` with fewer units; its layers are those of the teacher.
        on_layer: told how many layers are done.

    Returns:
        The scales of each of the student's sites, (units,), which its weights hold now.
    """
    calls, found = [_Call.of(teacher, batch) for batch in batches], []
    for index in range(len(_layers(student))):
        places = [site for site in sites(student) if site.layer == index]
        goals = [call.run_teacher(teacher, index, places) for call in calls]
        for site in places:
            reader = student.get_submodule(site.reader)
            parts = [
                call.moments(student, index, site, goal) for call, goal in zip(calls, goals, strict=True)
            ]
            weight: Any = reader.weight
            scales = least_squares_scales(_sum(parts), weight, site.width, ridge)
            weight.mul_(scales.repeat_interleave(site.width))
            found.append(scales)
        for call in calls:
            call.advance(student, index)
        on_layer(index + 1)
    return found


def _sum(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _layers(model: Prunable) -> Any:
    return model.get_submodule(layers_path(model))


@dataclass
class _Seen:
    """What a site computed: what its reader took in and gave out, and the residual sum behind it, (B, S, ...)."""

    inputs: Tensor
    output: Tensor
    total: Tensor


class _Call:
    """One batch on its way through both models, layer by layer.

    Args:
        hidden: (B, S, H), what both models' first layers read.
        arguments: of each layer, beside its input.
        counted: (B, S), the tokens that are no padding; None for all.
    """

    def __init__(
        self, hidden: Tensor, arguments: list[tuple[tuple[Any, ...], dict[str, Any]]], counted: Tensor | None
    ) -> None:
        self._student = self._teacher = hidden
        self._arguments, self._counted = arguments, counted

    @staticmethod
    def of(teacher: Prunable, batch: Batch) -> _Call:
        caught: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def catch(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught.append((args, kwargs))

        handles = [layer.register_forward_pre_hook(catch, with_kwargs=True) for layer in _layers(teacher)]
        try:
            teacher(**model_inputs(batch))
        finally:
            for handle in handles:
                handle.remove()
        mask = batch.get("attention_mask")
        rest = [(args[1:], kwargs) for args, kwargs in caught]
        return _Call(caught[0][0][0], rest, None if mask is None else mask.bool())

    def run_teacher(self, teacher: Prunable, index: int, places: Sequence[Site]) -> dict[str, Tensor]:
        """Takes the teacher a layer on; returns the residual sums behind some sites by their readers."""
        with _watched(teacher, places) as seen:
            self._teacher = self._run(teacher, index, self._teacher)
        return {reader: each.total for reader, each in seen.items()}

    def moments(self, student: Prunable, index: int, site: Site, goals: dict[str, Tensor]) -> Moments:
        """Of a site that shall make the student's residual sum the teacher's."""
        with _watched(student, [site]) as seen:
            self._run(student, index, self._student)
        here = seen[site.reader]
        bias: Any = student.get_submodule(site.reader).bias
        target = goals[site.reader] - here.total + here.output - bias
        inputs, target = self._count(here.inputs), self._count(target)
        return Moments(inputs.T @ inputs, target.T @ inputs)

    def advance(self, student: Prunable, index: int) -> None:
        """Takes the student a layer on."""
        self._student = self._run(student, index, self._student)

    def _run(self, model: Prunable, index: int, hidden: Tensor) -> Tensor:
        args, kwargs = self._arguments[index]
        output: Tensor = _layers(model)[index](hidden, *args, **kwargs)
        return output

    def _count(self, states: Tensor) -> Tensor:
        """(B, S, K) -> (N, K), without padding."""
        if self._counted is None:
            return states.flatten(0, 1)
        return states[self._counted[:, : states.shape[1]]]


@contextmanager
def _watched(model: Prunable, places: Sequence[Site]) -> Iterator[dict[str, _Seen]]:
    """Notes by their readers what some sites compute while a layer runs inside the context."""
    seen: dict[str, _Seen] = {}
    handles = []
    for site in places:
        seen[site.reader] = note = _Seen(*[torch.empty(0)] * 3)
        module, side = model.get_submodule(site.total[0]), site.total[1]

        def take_reader(_module: nn.Module, inputs: Any, output: Tensor, note: _Seen = note) -> None:
            note.inputs, note.output = inputs[0], output

        def take_input(_module: nn.Module, inputs: Any, note: _Seen = note) -> None:
            note.total = inputs[0]

        def take_output(_module: nn.Module, _inputs: Any, output: Tensor, note: _Seen = note) -> None:
            note.total = output

        handles.append(model.get_submodule(site.reader).register_forward_hook(take_reader))
        handles.append(
            module.register_forward_pre_hook(take_input)
            if side == "input"
            else module.register_forward_hook(take_output)
        )
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
