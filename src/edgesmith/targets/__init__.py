"""WHOM it is for: device profiles and what each runtime can execute."""

from edgesmith.targets.capabilities import (
    CAPABILITIES,
    Capability,
    capability_of,
    integer_dtypes,
    runtime_names,
)
from edgesmith.targets.profile import Target, load_target, target_names

__all__ = [
    "CAPABILITIES",
    "Capability",
    "Target",
    "capability_of",
    "integer_dtypes",
    "load_target",
    "runtime_names",
    "target_names",
]
