"""How a command talks: progress on stderr, the result on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator

from edgesmith.records import Progress, SilentProgress, to_dict


@contextlib.contextmanager
def working(quiet: bool) -> Iterator[Progress]:
    """Progress, and whatever the libraries print, goes to stderr: stdout is for the result."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        if quiet:
            yield SilentProgress()
            return
        from rich.console import Console

        from edgesmith.report.progress import RichProgress

        yield stack.enter_context(RichProgress(Console(stderr=True)))


def json_text(record: object) -> str:
    return json.dumps(to_dict(record), indent=2, ensure_ascii=False, allow_nan=False)
