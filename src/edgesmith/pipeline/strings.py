"""`edgesmith strings`: a bundle becomes one ONNX file that takes a text and gives its label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesmith import __version__
from edgesmith.errors import ParityError, RecipeError, UnsupportedError
from edgesmith.export import exporter
from edgesmith.export.wordpiece import CHARACTERS, WordPiece, read_wordpiece
from edgesmith.measure.code_points import CodePoints, sweep
from edgesmith.measure.parity import check_parity
from edgesmith.records import MANIFEST_NAME, Progress
from edgesmith.records.strings import OUTPUTS
from edgesmith.runtime.bundle import Bundle, hash_file, open_bundle
from edgesmith.runtime.predictor import Predictor
from edgesmith.runtime.strings import StringsSession
from edgesmith.runtime.text import TextEncoder

TASK, RUNTIME = "text-classification", "onnxruntime"
TOLERANCE = 1e-3
"""Largest difference between logits of the two graphs, as between PyTorch's and an exported one's."""

_UNCUT = 10**6
_PROSE = "The committee, which had met 12 times since 1998, didn't agree - naïve or not - on İstanbul's “café” plan! 東京 "


@dataclass(frozen=True, kw_only=True)
class StringsRecord:
    """What was written, and what it was compared on.

    Attributes:
        path: the file.
        size_bytes, sha256: of the file.
        batch: texts that one call takes.
        max_length: longest input in tokens; what goes beyond is cut, as the bundle cuts it.
        code_points: of Unicode, in whose tokens graph and bundle were compared.
        texts: whose logits and labels were compared.
        max_abs_error: largest difference of a logit.
        refused: what the graph answers with an error instead of a label.
    """

    path: str
    size_bytes: int
    sha256: str
    batch: int
    max_length: int
    code_points: CodePoints
    texts: int
    max_abs_error: float
    refused: str = "texts with a NUL character or bytes that are not UTF-8"


def write_strings(folder: Path, path: Path, progress: Progress) -> StringsRecord:
    """Puts the tokenizer of a bundle into its graph, and writes the file only where nothing was found to differ.

    Args:
        folder: a bundle for ONNX Runtime that classifies single texts, its tokenizer a BERT's (WordPiece).
        path: the ``.onnx`` file to write; must not exist.

    Raises:
        RecipeError: `path` exists, or is no ``.onnx`` file.
        BundleError: the bundle is damaged.
        UnsupportedError: another task, runtime or kind of tokenizer, or pairs of texts.
        ParityError: the graph reads a character, or answers a text, otherwise than the bundle.
        MissingExtraError: the extra `strings` is not installed.
    """
    _check_path(path)
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    _check_bundle(bundle)
    writer = exporter("strings")
    import onnx

    progress.say(f"reading what {bundle.tokenizer_path.name} does to each of Unicode's characters")
    wordpiece = read_wordpiece(bundle.tokenizer_path)
    compared = _compare_tokens(bundle, wordpiece, writer, progress)
    graph = writer.add_strings(
        onnx.load(bundle.model_path),
        wordpiece,
        max_length=manifest.max_length,
        labels=manifest.labels,
        facts=_facts(bundle, writer.EXTENSIONS_VERSION),
    ).SerializeToString()
    texts, error = _compare_answers(bundle, graph, wordpiece.special)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph)
    return StringsRecord(
        path=str(path),
        size_bytes=len(graph),
        sha256=hash_file(path),
        batch=1,
        max_length=manifest.max_length,
        code_points=compared,
        texts=texts,
        max_abs_error=error,
    )


def _check_path(path: Path) -> None:
    if path.suffix != ".onnx" or path.exists():
        why = "exists" if path.exists() else "does not end in .onnx"
        raise RecipeError(
            f"{path} {why}; give a new file with -o, such as {path.with_suffix('.strings.onnx')}."
        )


def _check_bundle(bundle: Bundle) -> None:
    found = bundle.manifest.task, bundle.manifest.runtime
    if found != (TASK, RUNTIME):
        raise UnsupportedError(
            f"{bundle.path} is for {' and '.join(found)}; strings go into the graph for {TASK} and {RUNTIME}. "
            "The bundle's own run.py takes texts."
        )


def _facts(bundle: Bundle, extensions: str) -> dict[str, str]:
    return {
        "edgesmith": __version__,
        "onnxruntime_extensions": extensions,
        "bundle_manifest_sha256": hash_file(bundle.path / MANIFEST_NAME),
        "max_length": str(bundle.manifest.max_length),
        "batch": "1",
    }


def _compare_tokens(bundle: Bundle, wordpiece: WordPiece, writer: Any, progress: Progress) -> CodePoints:
    encoder = TextEncoder(bundle.tokenizer_path, _UNCUT)
    session = StringsSession(writer.tokenizer_graph(wordpiece, max_length=_UNCUT).SerializeToString())

    def reference(text: str) -> list[int]:
        return list(encoder.encode([text])["input_ids"][0].tolist())

    def candidate(text: str) -> list[int]:
        return list(session.run(text)["input_ids"][0].tolist())

    found = sweep(reference, candidate, CHARACTERS, progress)
    if found.different:
        raise ParityError(
            f"the graph reads {found.different} of {found.n} characters otherwise than {bundle.tokenizer_path}: "
            f"{', '.join(found.examples)}. Nothing was written: what is read differently goes round a classifier. "
            "Please report it, with the tokenizer."
        )
    return found


def sample_texts(special: tuple[str, ...], max_length: int) -> Iterator[str]:
    """Texts of every length in words up to more than a graph takes, empty and blank ones, and special tokens in them."""
    yield from ("", " \t\r\n", *special, *(f"up{token}and {token.lower()} down" for token in special))
    words = (_PROSE * (2 + max_length // len(_PROSE.split()))).split()
    for count in sorted({1, 2, 3, 5, 8, 13, 21, max_length // 2, max_length, 2 * max_length}):
        yield " ".join(words[:count])
    yield from ("a" * 101, "é" * 100, "lone\u0301 mark", "\u200bzero\u200dwidth\ufeff", "emoji 😀👩‍🚀 here")


def _compare_answers(bundle: Bundle, graph: bytes, special: tuple[str, ...]) -> tuple[int, float]:
    """How many texts, and the largest difference of a logit."""
    label, _, logits = OUTPUTS
    texts = list(sample_texts(special, bundle.manifest.max_length))
    session = StringsSession(graph)
    found = [session.run(text) for text in texts]
    encoder = TextEncoder(bundle.tokenizer_path, bundle.manifest.max_length)
    with Predictor(bundle, encoder) as predictor:
        wanted = predictor.logits(texts)
    parity = check_parity(
        wanted, np.concatenate([one[logits] for one in found]), tolerance=TOLERANCE, name=logits
    )
    names = bundle.manifest.labels
    for text, one in zip(texts, found, strict=True):
        if one[label][0] != names[int(one[logits].argmax())]:
            raise ParityError(
                f"the graph's label of {text!a:.100} is {one[label][0]!r}, not that of its largest logit."
            )
    return len(texts), parity.max_abs_error
