"""WHOM it is for: device profiles and what each runtime can execute."""

from edgesmith.targets.capabilities import (
    CAPABILITIES,
    TASKS_ON,
    Capability,
    capability_of,
    check_task,
    integer_dtypes,
    runtime_names,
)
from edgesmith.targets.profile import Target, load_target, target_names
from edgesmith.targets.support import FAMILIES, PRECISIONS, Support, support_matrix

__all__ = [
    "CAPABILITIES",
    "FAMILIES",
    "PRECISIONS",
    "TASKS_ON",
    "Capability",
    "Support",
    "Target",
    "capability_of",
    "check_task",
    "integer_dtypes",
    "load_target",
    "runtime_names",
    "support_matrix",
    "target_names",
]
