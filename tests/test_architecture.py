"""Imports point inwards only, nothing below reaches for torch, and every library is declared."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from edgesmith.records import TESTED_VERSIONS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "edgesmith"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    {"cli"},
    {"pipeline"},
    {"analyze", "search", "compress", "export", "measure", "report"},
    {"models", "data"},
    {"runtime"},
    {"targets", "recipe"},
    {"records"},
    {"errors"},
)
FLOOR_OF = {room: depth for depth, floor in enumerate(FLOORS) for room in floor}
TORCH_FREE = {"runtime", "targets", "recipe", "records", "errors", "report"}
HEAVY = {"torch", "transformers", "datasets"}
TAKES_TENSORS = {"runtime/executorch.py"}
"""ExecuTorch's Python runtime is given tensors of PyTorch; its session imports torch inside a function."""
EXEMPT = {"__init__", "__main__"}  # they only look names up


def imported_names(source: str, package: str) -> Iterator[tuple[str, bool]]:
    """Every imported module with whether it stands at the top level; functions and TYPE_CHECKING blocks count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], base]
                ).rstrip(".")
            if base == "edgesmith":
                yield from ((f"edgesmith.{alias.name}", top) for alias in node.names)
            else:
                yield base, top


def offences(room: str, source: str, package: str = "edgesmith", *, takes_tensors: bool = False) -> list[str]:
    """What a module of `room` imports and must not.

    Args:
        takes_tensors: torch is allowed inside functions.
    """
    found = []
    for name, is_top in imported_names(source, package):
        library, _, rest = name.partition(".")
        other = rest.split(".")[0]
        is_allowed = takes_tensors and library == "torch" and not is_top
        if library in HEAVY and room in TORCH_FREE and not is_allowed:
            found.append(f"{room} imports {name}")
        if (
            library == "edgesmith"
            and other in FLOOR_OF
            and other != room
            and FLOOR_OF[other] <= FLOOR_OF[room]
        ):
            found.append(f"{room} imports {name}")
    return found


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def package_of(module: Path) -> str:
    return ".".join(module.relative_to(PACKAGE.parent).parent.parts)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_point_inwards(module: Path) -> None:
    room = room_of(module)
    if room in EXEMPT:
        return
    assert room in FLOOR_OF, f"{room} is no room of the house"
    takes_tensors = module.relative_to(PACKAGE).as_posix() in TAKES_TENSORS
    source = module.read_text(encoding="utf-8")
    assert offences(room, source, package_of(module), takes_tensors=takes_tensors) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("records", "from edgesmith.recipe import Recipe"),
        ("recipe", "from edgesmith import targets"),
        ("search", "from edgesmith.compress.prune import prune"),
        ("runtime", "def f():\n    import torch.nn"),
        ("report", "if TYPE_CHECKING:\n    from transformers import AutoModel"),
        ("data", "from ..models import load"),
    ],
)
def test_an_outward_import_is_found(room: str, source: str) -> None:
    assert len(offences(room, source, f"edgesmith.{room}")) == 1


def test_what_takes_tensors_may_import_torch_inside_a_function_only() -> None:
    for source, count in (
        ("import torch", 1),
        ("def f():\n    import transformers", 1),
        ("def f():\n    import torch", 0),
    ):
        assert len(offences("runtime", source, takes_tensors=True)) == count


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("measure", "from edgesmith.runtime import load_bundle"),
        ("cli", "from edgesmith import __version__, pipeline"),
        ("compress", "import torch"),
        ("runtime", "from .text import TextEncoder"),
    ],
)
def test_an_inward_import_is_not(room: str, source: str) -> None:
    assert offences(room, source, f"edgesmith.{room}") == []


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWNERS = metadata.packages_distributions()


def distributions(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


CORE = distributions(PROJECT["dependencies"])
OF_TESTS = {"demo", "test", "dev"}
EXTRAS = distributions(
    [
        text
        for name, texts in PROJECT["optional-dependencies"].items()
        if name not in OF_TESTS
        for text in texts
    ]
)


def owners_of(module: Path, *, top_only: bool) -> set[str]:
    """Distributions of the libraries that a module imports."""
    imports = imported_names(module.read_text(encoding="utf-8"), package_of(module))
    names = {name.partition(".")[0] for name, top in imports if top or not top_only}
    return {
        canonicalize_name(OWNERS.get(name, [name])[0])
        for name in names - {"edgesmith"} - set(sys.stdlib_module_names)
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_every_library_is_declared(module: Path) -> None:
    assert owners_of(module, top_only=False) <= CORE | EXTRAS


def test_without_an_extra_everything_else_still_imports() -> None:
    """Only a runtime's own module in `export` needs its extra at the top; others reach it inside functions."""
    needy = {module for module in MODULES if owners_of(module, top_only=True) & EXTRAS}
    assert all(room_of(module) == "export" and module.stem != "__init__" for module in needy)
    names = {f"edgesmith.export.{module.stem}" for module in needy}
    for module in set(MODULES) - needy - {*(PACKAGE / "export").glob("[!_]*.py")}:
        imports = imported_names(module.read_text(encoding="utf-8"), package_of(module))
        assert not names & {name for name, top in imports if top}, module


def test_a_device_is_asked_for_the_versions_that_are_declared() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = [Requirement(text) for group in groups for text in group]
    for name, versions in TESTED_VERSIONS.items():
        assert {each.specifier for each in declared if each.name == name} == {SpecifierSet(versions)}, name


def test_every_pin_lies_in_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pairs}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in (Requirement(text) for group in groups for text in group):
        if requirement.name != "edgesmith":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
