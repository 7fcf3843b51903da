"""A place in a model where units stand side by side, which can be cut one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place where units of one kind stand side by side: the heads of an attention, the neurons of an FFN.

    Attributes:
        layer: from 0.
        makers: linear layers whose rows are the units', each one or several blocks of all units.
        reader: the linear layer whose columns are the units'.
        total: the module that takes the residual sum behind the site as its ``input``, or gives it as its ``output``.
        units: how many.
        width: columns of a unit; 1 for a neuron.
    """

    kind: Literal["heads", "neurons"]
    layer: int
    makers: tuple[str, ...]
    reader: str
    total: tuple[str, Literal["input", "output"]]
    units: int
    width: int = 1
