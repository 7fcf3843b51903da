"""What a writer of prepared files is told beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from edgesmith.records import Plan, Task

Feeds = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be written.

    Attributes:
        plan: entries for modules of the model.
        max_length: longest input in tokens.
        pairs: whether ``token_type_ids`` is an input.
        labels: names by class index.
        rows: calibration rows as the model reads them, each a batch of one without padding.
        activation_bits: of QNN, 8 or 16.
        htp_arch: version of the Hexagon processor that a context binary is for, such as 73; None for the oldest.
    """

    plan: Plan
    task: Task
    max_length: int
    pairs: bool
    labels: tuple[str, ...]
    rows: tuple[Feeds, ...] = ()
    activation_bits: int = 16
    htp_arch: int | None = None
