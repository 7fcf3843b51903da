"""The command line of ``run.py`` in a bundle that answers questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgesmith.runtime.answering import answer_all, bundle_parser, exit_code_of
from edgesmith.runtime.bundle import open_bundle
from edgesmith.runtime.questions import QuestionPredictor
from edgesmith.runtime.text_options import add_text_options, check_text_options, is_table, read_rows

QUESTION_EXAMPLES = """\
examples:
  python run.py "Who was born in London?" "Ada was born in London."    Ada<TAB>0:3<TAB>0.9312
  python run.py --question "Who?" --context "Ada was born in London."  the same
  python run.py --file questions.jsonl --json                          columns question and context; a JSON object a line
  python run.py --file data.csv --text-column q --pair-column text     one answer a line
  python run.py < pairs.txt                                            a question, a tab and its context a line

0:3 are the first character of the answer in its context and the one past its last; then comes its probability.
needs: numpy, tokenizers and the bundle's runtime, such as onnxruntime; executorch needs torch too
"""


def main(arguments: Sequence[str], folder: Path) -> int:
    """Answers the questions that the arguments name, or those of standard input.

    Args:
        arguments: without the program's name.
        folder: the bundle.

    Returns:
        Exit code: that of the error, 130 when interrupted, 0 otherwise.
    """
    parser = bundle_parser(
        "Finds the answers to questions in their contexts, texts of any length, with the model of this bundle.",
        QUESTION_EXAMPLES,
    )
    add_text_options(parser, "questions, each followed by its context; without any, lines of standard input")
    parser.add_argument("--pair-column", metavar="NAME", help="column of the context (default: context)")
    parser.add_argument("--question", metavar="TEXT", help="one question, with --context")
    parser.add_argument("--context", metavar="TEXT", help="the text to find its answer in")
    options = parser.parse_args(arguments)
    if (options.question is None) != (options.context is None) or (options.texts and options.question):
        parser.error("--question goes with --context, and with no other text")
    if options.question is not None:
        options.texts = [options.question, options.context]
    options.pair = not is_table(options)
    check_text_options(parser, options)
    if is_table(options):
        options.text_column = options.text_column or "question"
        options.pair_column = options.pair_column or "context"

    def answer() -> None:
        with QuestionPredictor(open_bundle(folder), threads=options.threads) as predictor:
            answer_all(predictor, read_rows(options), options)

    return exit_code_of(answer, "numpy", "tokenizers")
