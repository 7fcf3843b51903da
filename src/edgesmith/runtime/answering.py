"""What the command lines of all bundles share: options, one answer a line, one line an error."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from edgesmith.errors import EdgesmithError, MissingExtraError
from edgesmith.runtime.predictor import BundleSession


def bundle_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser without options; the examples end its help, line by line as they are."""
    return argparse.ArgumentParser(
        prog="run.py",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options of every bundle, whatever it answers."""
    parser.add_argument("--json", action="store_true", help="print a JSON object for each input")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the runtime (default: 1)"
    )
    parser.add_argument("--time", action="store_true", help="print the p50 latency on standard error")


def exit_code_of(work: Callable[[], None], *packages: str) -> int:
    """Does the work; an error becomes one line on standard error and its exit code.

    Args:
        packages: what the device needs beside the runtime, for the line to type where one is missing.
    """
    try:
        work()
    except MissingExtraError as error:
        needed = " ".join(dict.fromkeys((*packages, error.package.lower(), *error.beside)))
        print(f"error: {error} On the device: pip install {needed}", file=sys.stderr)
        return error.exit_code
    except EdgesmithError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (
        BrokenPipeError
    ):  # the reader, such as `head`, has seen enough; the flush at exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


def answer_all(
    predictor: BundleSession, rows: Iterable[tuple[Any, Any]], options: argparse.Namespace
) -> None:
    """Prints the answer to each input and its second text, and with ``--time`` the latency."""
    latencies_ms: list[float] = []
    for answer, latency_ms in _timed_answers(predictor, rows):
        print(_format(answer, options), flush=True)
        latencies_ms.append(latency_ms)
    if options.time and latencies_ms:
        print(
            f"p50 {statistics.median(latencies_ms):.3f} ms to tokenise, run and decode one input "
            f"(n = {len(latencies_ms)}, threads = {options.threads})",
            file=sys.stderr,
        )


def _timed_answers(predictor: BundleSession, rows: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, float]]:
    """Each row's answer and its milliseconds; the first row is answered once before, untimed, to warm up."""
    for number, (text, pair) in enumerate(rows):
        if number == 0:
            predictor.predict(text, pair)
        start = time.perf_counter()
        (answer,) = predictor.predict(text, pair)
        yield answer, (time.perf_counter() - start) * 1e3


def _format(answer: Any, options: argparse.Namespace) -> str:
    """One line of a dataclass that has a `line` of its own."""
    if options.json:
        return json.dumps(asdict(answer))
    return str(answer.line(is_brief=options.file is not None))
