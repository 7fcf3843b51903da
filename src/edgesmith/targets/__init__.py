"""WHOM it is for: device profiles and what each runtime can execute."""

from edgesmith.targets.capabilities import (
    CAPABILITIES,
    Capability,
    capability_of,
    integer_dtypes,
    runtime_names,
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

__all__ = [
    "ARCHITECTURES",
    "CAPABILITIES",
    "HOST",
    "PRECISIONS",
    "Capability",
    "Precision",
    "Target",
    "Unit",
    "add_target",
    "capability_of",
    "integer_dtypes",
    "load_target",
    "read_target",
    "runtime_names",
    "save_target",
    "shipped_names",
    "target_names",
    "user_folder",
]
