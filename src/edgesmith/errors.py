"""Every error edgesmith raises.

    EdgesmithError            exit 1   something went wrong inside
    |-- RecipeError           exit 2   a recipe, an option or a budget that makes no sense
    |-- DataError             exit 2   data that cannot be used: file, row and column are named
    |-- ModelError            exit 2   a model that cannot be loaded or has the wrong form
    |-- BundleError           exit 2   a bundle that is damaged, incomplete or not a bundle
    |-- MissingExtraError     exit 3   an optional package is not installed: the line to type is given
    |-- UnsupportedError      exit 3   a combination that does not work: what would work is given
    |-- StepError             exit 1   a step failed: step and layer are named
    |-- ExportError           exit 1   the artifact could not be written
    |   `-- ParityError       exit 1   the artifact does not compute what the model computes
    |-- MeasureError          exit 1   a measurement could not be taken
    |   `-- BoardError        exit 1   a board could not be reached or used, or the connection to it was lost
    `-- BudgetError           exit 4   no artifact meets the budget: carries the best one found

The text of each says what happened, the value found, the values allowed and the next thing to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgesmithError(Exception):
    """Root of the tree."""

    exit_code = 1


class RecipeError(EdgesmithError):
    exit_code = 2


class DataError(EdgesmithError):
    exit_code = 2


class ModelError(EdgesmithError):
    exit_code = 2


class BundleError(EdgesmithError):
    exit_code = 2


class MissingExtraError(EdgesmithError):
    """An optional dependency is missing.

    Args:
        package: what is missing; kept as an attribute.
        extra: the extra of edgesmith that brings it.
        beside: what it cannot do without on a device and does not bring; kept as an attribute.
    """

    exit_code = 3

    def __init__(self, package: str, extra: str, beside: tuple[str, ...] = ()) -> None:
        super().__init__(f"{package} is not installed. Type: pip install 'edgesmith[{extra}]'")
        self.package, self.beside = package, beside


class UnsupportedError(EdgesmithError):
    exit_code = 3


class StepError(EdgesmithError):
    pass


class ExportError(EdgesmithError):
    pass


class ParityError(ExportError):
    pass


class MeasureError(EdgesmithError):
    pass


class BoardError(MeasureError):
    """Something between this machine and a board.

    Args:
        is_lost: whether trying again may help: nothing is known to be wrong but the connection.
    """

    def __init__(self, text: str, *, is_lost: bool = False) -> None:
        super().__init__(text)
        self.is_lost = is_lost


class BudgetError(EdgesmithError):
    exit_code = 4


def choose_from(kind: str, value: object, allowed: Iterable[str]) -> str:
    """Sentence for a name that is not known: the value, the nearest match, the allowed values."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {value!r}.{hint} Allowed: {', '.join(names)}."
