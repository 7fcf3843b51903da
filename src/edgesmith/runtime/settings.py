"""Settings that a bundle's manifest gives to the session of its runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgesmith.errors import BundleError, choose_from

Settings = Mapping[str, int | str]

THREADS_SETTING = "intra_op_num_threads"
"""Of every runtime; recorded only, since whoever opens a session says how many threads it has."""


def own_settings(settings: Settings | None, known: Iterable[str]) -> dict[str, int | str]:
    """Those of a runtime, without the number of threads.

    Args:
        known: their names.

    Raises:
        BundleError: a setting is not known; it is named.
    """
    allowed, own = {*known, THREADS_SETTING}, dict(settings or {})
    for name in own:
        if name not in allowed:
            raise BundleError(choose_from("session setting", name, allowed))
    own.pop(THREADS_SETTING, None)
    return own
