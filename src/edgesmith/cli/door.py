"""The command group: whatever a command raises leaves as one clear line and an exit code.

0    the artifact meets its budget, or the command did what was asked
1    something went wrong inside, or the system refused a file
2    usage, recipe, data, model or bundle
3    an extra is missing, or a combination is not supported
4    the budget is not met
130  stopped by the user
"""

from __future__ import annotations

import errno
import logging
import os
import traceback
from typing import Any, NoReturn

import click

from edgesmith.errors import EdgesmithError, UnsupportedError

_DEBUG = "edgesmith.debug"
_CHATTERS = ("torchao", "torch.utils._pytree")
"""Libraries that log, as they are imported, what no user of ours can act on: torchao comes with the extra `litert`."""


class Door(click.Group):
    """A click group that turns exceptions into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        for name in _CHATTERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            _check_is_alone()
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own way out
        except KeyboardInterrupt as stop:
            _leave(ctx, _noted("stopped; the same command resumes.", stop), 130)
        except EdgesmithError as error:
            _leave(ctx, _noted(f"error: {error}", error), error.exit_code)
        except OSError as error:
            if error.errno is None or error.errno == errno.EPIPE:
                raise
            _leave(ctx, f"error: {_place(error)}: {error.strerror}.{_advice(error)}", 1)
        except Exception as error:  # noqa: BLE001 - the last door: a traceback helps only those who ask for it
            hint = "The same command with --debug shows the traceback."
            _leave(ctx, f"error: internal: {type(error).__name__}: {error}. {hint}", 1)


def set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Callback of ``--debug``: the traceback is printed before the line."""
    ctx.meta[_DEBUG] = value


def _check_is_alone() -> None:
    """A command works in one process: several would decide, measure and write side by side into one folder."""
    processes = os.environ.get("WORLD_SIZE", "1")  # set by torchrun and `accelerate launch`
    if processes != "1":
        raise UnsupportedError(
            f"edgesmith was started as one of {processes} processes (WORLD_SIZE); allowed: 1. Type the same line without "
            "torchrun or accelerate launch: one process uses all cores. A training of your own may have several: "
            "docs/models.md shows how."
        )


def _leave(ctx: click.Context, text: str, code: int) -> NoReturn:
    if ctx.meta.get(_DEBUG):
        traceback.print_exc()
    click.echo(" ".join(text.splitlines()), err=True)
    raise click.exceptions.Exit(code)


def _noted(text: str, error: BaseException) -> str:
    """The text and the notes that the error took along on its way (PEP 678)."""
    return " ".join((text, *getattr(error, "__notes__", ())))


def _place(error: OSError) -> str:
    """The file in question; a failed write to an open file does not carry its name."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return " -> ".join(names) or "a file in the output folder"


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return " Free some space; the same command resumes."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return " Check its permissions, or choose another folder with -o."
    return ""
