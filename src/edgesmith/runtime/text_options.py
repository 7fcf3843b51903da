"""What the command lines of bundles that read texts share: where the texts come from."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable
from pathlib import Path

from edgesmith.runtime.answering import add_common_options
from edgesmith.runtime.rows import Row, read_file, read_lines


def add_text_options(parser: argparse.ArgumentParser, texts: str) -> None:
    """Options of every bundle that reads texts.

    Args:
        texts: what these are, for the help.
    """
    parser.add_argument("texts", nargs="*", metavar="TEXT", help=texts)
    parser.add_argument(
        "--file", type=Path, help="read a .csv, .tsv, .jsonl or .txt file; prints one answer a line"
    )
    parser.add_argument("--text-column", metavar="NAME", help="column of the text")
    add_common_options(parser)


def is_table(options: argparse.Namespace) -> bool:
    """Whether the texts stand in a file with columns."""
    return options.file is not None and options.file.suffix.lower() != ".txt"


def check_text_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the program with exit code 2 and the usage where options contradict each other."""
    if options.file is not None and options.texts:
        parser.error("give texts or --file, not both")
    if (options.text_column is not None or options.pair_column is not None) and not is_table(options):
        parser.error("--text-column and --pair-column go with --file and a .csv, .tsv or .jsonl file")
    if options.pair and is_table(options):
        parser.error(
            "with a .csv, .tsv or .jsonl file, --pair-column names the second text; leave out --pair"
        )
    if options.pair and len(options.texts) % 2:
        parser.error(f"texts are taken two by two, and there are {len(options.texts)}")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; allowed: 1 or more")


def read_rows(options: argparse.Namespace) -> Iterable[Row]:
    """The texts, with their second ones where there are such."""
    if options.file is not None:
        return read_file(options.file, options.text_column, options.pair_column, has_pairs=options.pair)
    if options.texts:
        firsts, seconds = options.texts[:: 1 + options.pair], options.texts[1::2]
        return list(zip(firsts, seconds, strict=True)) if options.pair else [(text, None) for text in firsts]
    if sys.stdin.isatty():
        print("Reading texts from the terminal, one a line; Ctrl-D ends.", file=sys.stderr)
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
    return read_lines(lines, "standard input", has_pairs=options.pair)
