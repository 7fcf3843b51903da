"""The command line of the ``run.py`` of a bundle that labels images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from edgesmith.errors import BundleError, DataError
from edgesmith.runtime.answering import add_common_options, answer_all, bundle_parser, exit_code_of
from edgesmith.runtime.bundle import open_bundle
from edgesmith.runtime.image import ImageEncoder
from edgesmith.runtime.predictor import Predictor

EXAMPLES = """\
examples:
  python run.py cat.jpg dog.png                 label<TAB>probability for each image
  python run.py --file images.txt               the path of an image a line; prints one label a line
  find photos -name '*.jpg' | python run.py     likewise, from standard input
  python run.py --file images.txt --time > labels.txt

needs: numpy, Pillow and the bundle's runtime, such as onnxruntime; executorch needs torch too
"""


def main(arguments: Sequence[str], folder: Path) -> int:
    """Answers the images that the arguments name, or those whose paths stand in standard input.

    Args:
        arguments: without the program's name.
        folder: the bundle.

    Returns:
        Exit code: that of the error, 130 when interrupted, 0 otherwise.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.file is not None and options.images:
        parser.error("give images or --file, not both")
    if options.threads < 1:
        parser.error(f"--threads is {options.threads}; allowed: 1 or more")

    def answer() -> None:
        bundle = open_bundle(folder)
        preprocessing = bundle.manifest.preprocessing
        if preprocessing is None:
            raise BundleError(
                f"{folder}: the manifest has no preprocessing of images. Export the model again."
            )
        with Predictor(bundle, ImageEncoder(preprocessing), threads=options.threads) as predictor:
            answer_all(predictor, ((path, None) for path in _paths(options)), options)

    return exit_code_of(answer, "numpy", "pillow")


def _parser() -> argparse.ArgumentParser:
    parser = bundle_parser("Labels images with the model of this bundle, one at a time.", EXAMPLES)
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE", help="files to label; without any, lines of standard input"
    )
    parser.add_argument("--file", type=Path, help="read the paths of images from a file, one a line")
    add_common_options(parser)
    return parser


def _paths(options: argparse.Namespace) -> Iterable[str]:
    if options.images:
        return list(options.images)
    if options.file is None:
        return _lines(sys.stdin)
    try:
        return list(_lines(options.file.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{options.file} cannot be read: {problem}.") from None


def _lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines that name a file, without their ends."""
    return (line.rstrip("\r\n") for line in lines if line.strip())
