"""Where profiles lie: those that come with edgesmith, and the user's own, which go before them."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from edgesmith.errors import RecipeError, choose_from
from edgesmith.records import from_dict, to_dict, write_text
from edgesmith.targets.profile import HOST, Target

SUFFIX = ".yaml"


def user_folder() -> Path:
    """Of the user's own profiles: under ``$XDG_CONFIG_HOME``, or ``~/.config`` where that is not set."""
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "edgesmith" / "targets"


def shipped_names() -> list[str]:
    """Names of the profiles that come with edgesmith, this machine first."""
    profiles = resources.files("edgesmith.targets") / "profiles"
    return _ordered(
        entry.name.removesuffix(SUFFIX) for entry in profiles.iterdir() if entry.name.endswith(SUFFIX)
    )


def target_names() -> list[str]:
    """Names that `load_target` knows, this machine first."""
    return _ordered({*shipped_names(), *(path.stem for path in user_folder().glob(f"*{SUFFIX}"))})


def load_target(name: str) -> Target:
    """Reads a profile: the one in a file where the name ends in ``.yaml``, else the user's or the shipped one.

    Raises:
        RecipeError: no profile has the name; the text gives the nearest and all there are. Or the file is no profile.
    """
    if name.endswith(SUFFIX):
        return read_target(Path(name))
    own = user_folder() / f"{name}{SUFFIX}"
    if os.path.isfile(own):  # not where it may not be looked into
        return read_target(own)
    if name not in shipped_names():
        raise RecipeError(
            choose_from("target", name, target_names()) + " Your own: edgesmith targets add FILE"
        )
    return _shipped(name)


def read_target(path: Path) -> Target:
    """The profile in a file; its name is the file's.

    Raises:
        RecipeError: no such file, no YAML, or no profile; the text names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise RecipeError(f"{path}: cannot be read ({problem.strerror}).") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text; a profile is a YAML file.") from None
    return _parse(text, path.stem, str(path))


def add_target(path: Path) -> Target:
    """Checks the profile in a file and keeps a copy among the user's own.

    Raises:
        RecipeError: the file is no profile, or its name belongs to a profile that comes with edgesmith.
    """
    target = read_target(path)
    if target.name in shipped_names():
        raise RecipeError(
            f"{path}: the name {target.name!r} belongs to a profile that comes with edgesmith. Rename the file, such as "
            f"my-{target.name}{SUFFIX}"
        )
    write_text(user_folder() / f"{target.name}{SUFFIX}", path.read_text(encoding="utf-8"))
    return target


def save_target(target: Target, path: Path) -> None:
    """Writes a profile that `read_target` reads; figures that are not known are left out."""
    data = {key: value for key, value in _stated(to_dict(target)).items() if key != "name"}
    write_text(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110))


@cache
def _shipped(name: str) -> Target:
    path = resources.files("edgesmith.targets") / "profiles" / f"{name}{SUFFIX}"
    return _parse(path.read_text(encoding="utf-8"), name, f"target {name!r}")


def _stated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stated(item) for key, item in value.items() if item is not None}
    return value


def _parse(text: str, name: str, where: str) -> Target:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise RecipeError(f"{where}: not valid YAML ({problem}).") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{where}: expected a mapping, got {type(data).__name__} {data!r}.")
    return from_dict(Target, {"name": name, **data}, where=where)


def _ordered(names: Any) -> list[str]:
    return sorted(names, key=lambda name: (name != HOST, name))
