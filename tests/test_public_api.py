"""The public root: few names, each of them real."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import edgesmith

PACKAGE = Path(edgesmith.__file__).parent


def test_the_root_is_small() -> None:
    assert len(edgesmith.__all__) <= 15
    assert edgesmith.__all__ == sorted(edgesmith.__all__)
    assert dir(edgesmith) == edgesmith.__all__


@pytest.mark.parametrize("name", edgesmith.__all__)
def test_every_public_name_has_a_home(name: str) -> None:
    if name in edgesmith._HOMES:
        home = PACKAGE.joinpath(*edgesmith._HOMES[name].split(".")[1:])
        source = home.with_suffix(".py") if home.with_suffix(".py").exists() else home / "__init__.py"
        assert source.exists()
        assert getattr(edgesmith, name) is getattr(importlib.import_module(edgesmith._HOMES[name]), name)
    elif name != "pipeline":
        assert hasattr(edgesmith, name)


def test_a_wrong_name_gets_the_nearest() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'Recipe'"):
        edgesmith.Recipes  # noqa: B018 - the look-up is what is tested


def inits() -> list[Path]:
    return sorted(PACKAGE.glob("*/__init__.py"))


@pytest.mark.parametrize("init", inits(), ids=lambda path: path.parent.name)
def test_all_of_a_room_is_what_it_imports(init: Path) -> None:
    tree = ast.parse(init.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert not imported or lists, "a room that imports names lists them in __all__"
    for names in lists:
        assert len(names) == len(set(names))
        assert set(names) <= imported | defined
