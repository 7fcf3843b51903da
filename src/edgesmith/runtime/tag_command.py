"""The command line of ``run.py`` in a bundle that finds entities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgesmith.runtime.answering import answer_all, bundle_parser, exit_code_of
from edgesmith.runtime.bundle import open_bundle
from edgesmith.runtime.text_options import add_text_options, check_text_options, read_rows
from edgesmith.runtime.tokens import TagPredictor

TAG_EXAMPLES = """\
examples:
  python run.py "Ada Lovelace was born in London."            PER 0:12 Ada Lovelace<TAB>LOC 25:31 London
  python run.py --file data.csv --text-column sentence --json one JSON object a line, with probabilities
  python run.py --words "Ada Lovelace was born in London ."   B-PER I-PER O O O B-LOC O
  python run.py < texts.txt                                   one text a line

0:12 are the first character of an entity and the one past its last.
needs: numpy, tokenizers and the bundle's runtime, such as onnxruntime; executorch needs torch too
"""


def main(arguments: Sequence[str], folder: Path) -> int:
    """Finds the entities of the texts that the arguments name, or of those of standard input.

    Args:
        arguments: without the program's name.
        folder: the bundle.

    Returns:
        Exit code: that of the error, 130 when interrupted, 0 otherwise.
    """
    parser = bundle_parser(
        "Finds entities with the model of this bundle, one text at a time, of any length.", TAG_EXAMPLES
    )
    add_text_options(parser, "texts to read; without any, lines of standard input")
    parser.add_argument(
        "--words", action="store_true", help="texts are words with one space between; prints a tag for each"
    )
    parser.set_defaults(pair=False, pair_column=None)  # of which `read_rows` knows
    options = parser.parse_args(arguments)
    check_text_options(parser, options)

    def answer() -> None:
        bundle = open_bundle(folder)
        with TagPredictor(bundle, threads=options.threads, has_words=options.words) as predictor:
            answer_all(predictor, read_rows(options), options)

    return exit_code_of(answer, "numpy", "tokenizers")
