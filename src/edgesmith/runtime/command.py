"""The command line of a bundle's ``run.py``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from edgesmith.runtime.answering import answer_all, bundle_parser, exit_code_of
from edgesmith.runtime.bundle import open_bundle
from edgesmith.runtime.predictor import Predictor
from edgesmith.runtime.text import TextEncoder
from edgesmith.runtime.text_options import add_text_options, check_text_options, read_rows

EXAMPLES = """\
examples:
  python run.py "a text" "another"                            label<TAB>probability for each text
  python run.py --pair "a text" "its pair"                    texts taken two by two
  python run.py --file data.csv --text-column sentence        one label a line
  python run.py --file data.tsv --text-column a --pair-column b --json
  python run.py < texts.txt                                   one text a line
  python run.py --file data.csv --text-column sentence --time > labels.txt

needs: numpy, tokenizers and the bundle's runtime, such as onnxruntime; executorch needs torch too
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
    check_text_options(parser, options)

    def answer() -> None:
        bundle = open_bundle(folder)
        encoder = TextEncoder(bundle.tokenizer_path, bundle.manifest.max_length)
        with Predictor(bundle, encoder, threads=options.threads) as predictor:
            answer_all(predictor, read_rows(options), options)

    return exit_code_of(answer, "numpy", "tokenizers")


def _parser() -> argparse.ArgumentParser:
    parser = bundle_parser("Labels texts with the model of this bundle, one input at a time.", EXAMPLES)
    add_text_options(parser, "texts to label; without any, lines of standard input")
    parser.add_argument(
        "--pair", action="store_true", help="inputs are pairs: two texts, or a line with one tab"
    )
    parser.add_argument("--pair-column", metavar="NAME", help="column of the second text")
    return parser
