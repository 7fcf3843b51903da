"""The command line of a bundle's ``run.py``."""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from edgesmith.errors import EdgesmithError, MissingExtraError
from edgesmith.runtime.predictor import Predictor, load_bundle
from edgesmith.runtime.rows import Row, read_file, read_lines
from edgesmith.runtime.text import Answer

EXAMPLES = """\
examples:
  python run.py "a text" "another"                            label<TAB>probability for each text
  python run.py --pair "a text" "its pair"                    texts taken two by two
  python run.py --file data.csv --text-column sentence        one label a line
  python run.py --file data.tsv --text-column a --pair-column b --json
  python run.py < texts.txt                                   one text a line
  python run.py --file data.csv --text-column sentence --time > labels.txt

needs: numpy, tokenizers and the bundle's runtime, such as onnxruntime
"""


def main(arguments: Sequence[str], folder: Path) -> int:
    """Answers the texts that the arguments name, or those of standard input.

    Args:
        arguments: without the program's name.
        folder: the bundle.

    Returns:
        Exit code: that of the error, 130 when interrupted, 0 otherwise.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_options(parser, options)
    try:
        with load_bundle(folder, threads=options.threads) as predictor:
            _answer_all(predictor, _rows(options), options)
    except MissingExtraError as error:
        print(f"error: {error} On the device: pip install numpy tokenizers onnxruntime", file=sys.stderr)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Labels texts with the model of this bundle, one input at a time.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts to label; without any, lines of standard input"
    )
    parser.add_argument(
        "--pair", action="store_true", help="inputs are pairs: two texts, or a line with one tab"
    )
    parser.add_argument(
        "--file", type=Path, help="read a .csv, .tsv, .jsonl or .txt file; prints one label a line"
    )
    parser.add_argument("--text-column", metavar="NAME", help="column of the text")
    parser.add_argument("--pair-column", metavar="NAME", help="column of the second text")
    parser.add_argument("--json", action="store_true", help="print a JSON object for each input")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="threads of the runtime (default: 1)"
    )
    parser.add_argument("--time", action="store_true", help="print the p50 latency on standard error")
    return parser


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the program with exit code 2 and the usage where options contradict each other."""
    is_table = options.file is not None and options.file.suffix.lower() != ".txt"
    if options.file is not None and options.texts:
        parser.error("give texts or --file, not both")
    if (options.text_column is not None or options.pair_column is not None) and not is_table:
        parser.error("--text-column and --pair-column go with --file and a .csv, .tsv or .jsonl file")
    if options.pair and is_table:
        parser.error(
            "with a .csv, .tsv or .jsonl file, --pair-column names the second text; leave out --pair"
        )
    if options.pair and len(options.texts) % 2:
        parser.error(f"--pair takes texts two by two, and there are {len(options.texts)}")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; allowed: 1 or more")


def _rows(options: argparse.Namespace) -> Iterable[Row]:
    if options.file is not None:
        return read_file(options.file, options.text_column, options.pair_column, has_pairs=options.pair)
    if options.texts:
        firsts, seconds = options.texts[:: 1 + options.pair], options.texts[1::2]
        return list(zip(firsts, seconds, strict=True)) if options.pair else [(text, None) for text in firsts]
    if sys.stdin.isatty():
        print("Reading texts from the terminal, one a line; Ctrl-D ends.", file=sys.stderr)
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
    return read_lines(lines, "standard input", has_pairs=options.pair)


def _answer_all(predictor: Predictor, rows: Iterable[Row], options: argparse.Namespace) -> None:
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


def _timed_answers(predictor: Predictor, rows: Iterable[Row]) -> Iterator[tuple[Answer, float]]:
    """Each row's answer and its milliseconds; the first row is answered once before, untimed, to warm up."""
    for number, (text, pair) in enumerate(rows):
        if number == 0:
            predictor.predict(text, pair)
        start = time.perf_counter()
        (answer,) = predictor.predict(text, pair)
        yield answer, (time.perf_counter() - start) * 1e3


def _format(answer: Answer, options: argparse.Namespace) -> str:
    if options.json:
        return json.dumps(asdict(answer))
    return answer.label if options.file is not None else f"{answer.label}\t{answer.probability:.4f}"
