"""What a writer of prepared files is told beside the model."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.records import Plan, Task


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be written.

    Attributes:
        plan: entries for modules of the model.
        max_length: longest input in tokens.
        pairs: whether ``token_type_ids`` is an input.
        labels: names by class index.
    """

    plan: Plan
    task: Task
    max_length: int
    pairs: bool
    labels: tuple[str, ...]
