"""What a step leaves beside its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

STEP_RECORD_NAME = "step.json"


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One finished step. It is written last, so its presence says that the step is whole.

    Attributes:
        step: such as ``prune``.
        key: hash of everything the result depends on: parent, configuration, data, seed, code and library versions.
        config: the step's resolved configuration.
        facts: what was found or done, as plain values.
        reasons: choices the step made, in words.
        wall_s: seconds of work, without the time of an interrupted try.
    """

    step: str
    key: str
    wall_s: float
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    schema_version: int = 1
