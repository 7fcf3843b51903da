"""WHOM it is for: device profiles and what each runtime can execute."""

from edgesmith.targets.capabilities import (
    CAPABILITIES,
    TASKS_ON,
    Capability,
    capability_of,
    check_task,
    gives_integers,
    integer_schemes,
    runtime_names,
    scales_tokens,
    uncalibrated_schemes,
)
from edgesmith.targets.profile import ARCHITECTURES, HOST, PRECISIONS, Precision, Target, Unit
from edgesmith.targets.store import (
    add_target,
    load_target,
    read_target,
    save_target,
    shipped_names,
    target_names,
    user_folder,
)
from edgesmith.targets.support import FAMILIES, WEIGHT_DTYPES, Support, support_matrix

__all__ = [
    "ARCHITECTURES",
    "CAPABILITIES",
    "FAMILIES",
    "HOST",
    "PRECISIONS",
    "TASKS_ON",
    "WEIGHT_DTYPES",
    "Capability",
    "Precision",
    "Support",
    "Target",
    "Unit",
    "add_target",
    "capability_of",
    "check_task",
    "gives_integers",
    "integer_schemes",
    "load_target",
    "read_target",
    "runtime_names",
    "save_target",
    "scales_tokens",
    "shipped_names",
    "support_matrix",
    "target_names",
    "uncalibrated_schemes",
    "user_folder",
]
