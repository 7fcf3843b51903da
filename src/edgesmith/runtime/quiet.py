"""Silence around libraries that talk."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def silence() -> Iterator[IO[bytes]]:
    """Nothing that a library logs, warns or prints inside is seen, be it written in Python or below it.

    Yields:
        What is printed, to be read inside.
    """
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    sys.stdout.flush(), sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as heard:
        try:
            os.dup2(heard.fileno(), 1)
            os.dup2(heard.fileno(), 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield heard
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
            logging.disable(level)
