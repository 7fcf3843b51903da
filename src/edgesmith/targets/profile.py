"""A device profile: what is known of a board, each figure with its public source."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal

import yaml

from edgesmith.errors import RecipeError, choose_from
from edgesmith.records import from_dict
from edgesmith.targets.capabilities import runtime_names

HOST = "host"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One device. None means unknown, or not the same on every device of the name.

    Attributes:
        architecture: instruction set, as `platform.machine()` names it.
        clock_hz: stock clock of a core.
        memory: kind and transfer rate, such as ``LPDDR4X-4267``.
        features: instructions that matter here, as ``/proc/cpuinfo`` names them.
        precisions: formats that the vector unit multiplies; INT8 counts with or without dot-product instructions.
        runtimes: those that run on it.
        sources: figure -> document it was read in.
    """

    name: str
    description: str
    runtimes: tuple[str, ...]
    processor: str | None = None
    architecture: Literal["x86_64", "aarch64"] | None = None
    cores: int | None = None
    clock_hz: int | None = None
    memory: str | None = None
    memory_bytes: int | None = None
    memory_bandwidth_bytes_s: int | None = None
    features: tuple[str, ...] | None = None
    precisions: tuple[Literal["fp32", "fp16", "int8"], ...] | None = None
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for runtime in self.runtimes:
            if runtime not in runtime_names():
                raise RecipeError(
                    f"target {self.name!r}: " + choose_from("runtime", runtime, runtime_names())
                )
        known = set(self.figures())
        if known != set(self.sources):
            raise RecipeError(
                f"target {self.name!r}: every figure needs a source and every source a figure; "
                f"figures {sorted(known)}, sources {sorted(self.sources)}."
            )
        for key in ("cores", "clock_hz", "memory_bytes", "memory_bandwidth_bytes_s"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise RecipeError(
                    f"target {self.name!r}: {key} is {value}; allowed: a number above 0, or null."
                )

    @property
    def is_host(self) -> bool:
        """Whether it is this machine, where everything can be measured."""
        return self.name == HOST

    def figures(self) -> dict[str, object]:
        """The figures that are known, by name."""
        described = {"name", "description", "runtimes", "sources"}
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in described}
        return {name: value for name, value in values.items() if value is not None}


def target_names() -> list[str]:
    """Names that `load_target` knows, this machine first."""
    names = [
        entry.name.removesuffix(".yaml") for entry in _profiles().iterdir() if entry.name.endswith(".yaml")
    ]
    return sorted(names, key=lambda name: (name != HOST, name))


def load_target(name: str) -> Target:
    """Reads the profile of a name.

    Raises:
        RecipeError: no profile has the name; the text gives the nearest and all there are.
    """
    names = target_names()
    if name not in names:
        raise RecipeError(choose_from("target", name, names))
    text = (_profiles() / f"{name}.yaml").read_text(encoding="utf-8")
    return from_dict(Target, {"name": name, **yaml.safe_load(text)}, where=f"target {name!r}")


def _profiles() -> Traversable:
    return resources.files("edgesmith.targets") / "profiles"
