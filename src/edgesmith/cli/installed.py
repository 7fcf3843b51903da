"""Which runtimes and extras are installed, as the package metadata tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgesmith.errors import UnsupportedError

PACKAGE = "edgesmith"

RUNTIMES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai-edge-litert", "litert-torch", "ai-edge-quantizer"),
    "openvino": ("openvino",),
    "executorch": ("executorch",),
    "coreml": ("coremltools",),
}
"""Runtime -> its distributions. Those that are an extra as well are supported."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Attributes:
    versions: of those of its distributions that are installed.
    """

    name: str
    is_supported: bool
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Extra:
    """Attributes:
    missing: what it needs and is not there, or is there in another version.
    """

    name: str
    missing: tuple[str, ...]

    @property
    def install_line(self) -> str:
        return f"pip install '{PACKAGE}[{self.name}]'"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """Attributes:
    missing: of what every command needs.
    """

    missing: tuple[str, ...]
    extras: tuple[Extra, ...]
    runtimes: tuple[Runtime, ...]

    @property
    def obstacles(self) -> tuple[str, ...]:
        """What makes `compress` impossible, each with the line to type."""
        found = []
        if self.missing:
            found.append(f"{', '.join(self.missing)}. Type: pip install --upgrade {PACKAGE}")
        needed = [extra for extra in self.extras if extra.name in RUNTIMES]
        if all(extra.missing for extra in needed):
            lines = " or: ".join(extra.install_line for extra in needed)
            found.append(f"no runtime is complete. Type: {lines}")
        return tuple(found)


def find_installed(package: str = PACKAGE) -> Installed:
    """Reads the metadata of edgesmith and of what it names.

    Raises:
        UnsupportedError: edgesmith runs from a folder and has no metadata.
    """
    try:
        described = metadata.metadata(package)
        requirements = [Requirement(text) for text in metadata.requires(package) or ()]
    except metadata.PackageNotFoundError:
        raise UnsupportedError(
            f"{package} is not installed, so its extras are not known. Type: pip install -e . in its folder."
        ) from None
    extras = described.get_all("Provides-Extra") or []
    return Installed(
        missing=missing_of(requirements),
        extras=tuple(Extra(name=name, missing=missing_of(requirements, name)) for name in extras),
        runtimes=tuple(
            Runtime(name=name, is_supported=name in extras, versions=_versions(distributions))
            for name, distributions in RUNTIMES.items()
        ),
    )


def missing_of(requirements: Iterable[Requirement], extra: str | None = None) -> tuple[str, ...]:
    """Those requirements, of an extra alone or of no extra, that are not met, in words.

    Requirements for other systems or versions of Python do not count.
    """
    wanted = [requirement for requirement in requirements if _is_of(requirement, extra)]
    return tuple(problem for requirement in wanted if (problem := _problem(requirement)))


def _is_of(requirement: Requirement, extra: str | None) -> bool:
    if requirement.marker is None:
        return extra is None
    without = requirement.marker.evaluate({"extra": ""})
    return without if extra is None else not without and requirement.marker.evaluate({"extra": extra})


def _problem(requirement: Requirement) -> str | None:
    name = canonicalize_name(requirement.name)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{name} is {version}, not {requirement.specifier}"


def _versions(distributions: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
