"""What a benched bundle is asked: rows of a file, or inputs made of what the bundle itself knows, and labelled so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgesmith.errors import DataError, RecipeError, UnsupportedError
from edgesmith.records import QUESTION_TASK, ImagePreprocessing
from edgesmith.runtime.bundle import Bundle
from edgesmith.runtime.text import load_tokenizer

if TYPE_CHECKING:
    from edgesmith.recipe import DataConfig  # and YAML with it, which a board does without

DEFAULT_LENGTH = 32
"""Tokens of an input that is made, special ones included."""

Row = tuple[Any, str | None]
"""A text or an image, and a text's second one."""


@dataclass(frozen=True)
class BenchInputs:
    """Attributes:
    rows: in the order they are numbered.
    origin: where they come from, in words.
    mean_tokens: special ones included; None for images.
    notes: what was guessed of a file.
    """

    rows: tuple[Row, ...]
    origin: str
    mean_tokens: float | None
    notes: tuple[str, ...] = ()


def read_inputs(bundles: Sequence[Bundle], data: DataConfig, count: int, seed: int) -> list[BenchInputs]:
    """At most `count` rows of a file at random, the same for every bundle.

    Raises:
        UnsupportedError: bundles of different tasks.
        DataError, MissingExtraError: as `data.inputs.load_inputs`.
    """
    tasks = {bundle.manifest.task: bundle.path for bundle in bundles}
    if len(tasks) > 1:
        told = ", ".join(f"{path}: {task}" for task, path in tasks.items())
        raise UnsupportedError(
            f"the same data cannot be asked of bundles of different tasks ({told}). Bench bundles of one task, or leave "
            "--data out: each is then asked inputs that are made for it."
        )
    from edgesmith.data.inputs import load_inputs  # pandas, which inputs that are made do without

    is_image = bundles[0].manifest.preprocessing is not None
    found = load_inputs(data, images=is_image)
    order = np.random.default_rng(seed).permutation(len(found.rows))[:count]
    rows = tuple(found.rows[row] for row in sorted(order.tolist()))
    origin = f"{len(rows):,} of the {len(found.rows):,} rows of {Path(data.path).name}"
    return [
        BenchInputs(rows, origin, None if is_image else _mean_tokens(bundle, rows), found.notes)
        for bundle in bundles
    ]


def random_tokens(vocab: int, length: int, count: int, seed: int = 0) -> list[dict[str, NDArray[np.int64]]]:
    """What a model of texts is fed, of random ids without padding; each input (1, length) int64, batch 1."""
    ids = np.random.default_rng(seed).integers(1, vocab, (count, 1, length), dtype=np.int64)
    return [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in ids]


def make_inputs(bundle: Bundle, length: int | None, count: int, seed: int) -> BenchInputs:
    """Texts of words of the bundle's own vocabulary, or images of random pixels.

    Args:
        length: tokens of every text, special ones included; None is `DEFAULT_LENGTH`, or what the bundle takes at most.

    Raises:
        RecipeError: a length that the bundle does not take.
        DataError: the vocabulary has no words to make such texts of, or the bundle answers questions.
    """
    manifest = bundle.manifest
    if manifest.task == QUESTION_TASK:
        raise DataError(f"{bundle.path} answers questions, which are not made up. Give some with --data.")
    if manifest.preprocessing is not None:
        if length is not None:
            raise RecipeError(f"length is {length}, and {bundle.path} takes images. Leave --length out.")
        return _images(manifest.preprocessing, count, seed)
    wanted = min(DEFAULT_LENGTH, manifest.max_length) if length is None else length
    texts = _texts(bundle, wanted, count, seed)
    origin = f"{count:,} texts made of the bundle's own vocabulary"
    return BenchInputs(tuple((text, None) for text in texts), origin, float(wanted))


def _images(preprocessing: ImagePreprocessing, count: int, seed: int) -> BenchInputs:
    side = preprocessing.resize
    height, width = preprocessing.size or ((side, side) if isinstance(side, int) else side)
    channels = () if preprocessing.mode == "L" else (3,)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, *channels), dtype=np.uint8)
    origin = (
        f"{count:,} images made of random pixels, {height} x {width}, so that resizing costs next to nothing"
    )
    return BenchInputs(tuple((image, None) for image in pixels), origin, None)


def _texts(bundle: Bundle, length: int, count: int, seed: int) -> list[str]:
    """Texts that the bundle's tokenizer cuts into exactly `length` tokens."""
    tokenizer = load_tokenizer(bundle.tokenizer_path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    special, longest = tokenizer.num_special_tokens_to_add(is_pair=False), bundle.manifest.max_length
    if not special < length <= longest:
        raise RecipeError(
            f"length is {length}; {bundle.path} takes {special + 1} to {longest} tokens, special ones included."
        )
    words = _whole_words(tokenizer)
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(words, length - special)) for _ in range(count)] if words else [""]
    got = {len(tokenizer.encode(text).ids) for text in texts}
    if got != {length}:
        raise DataError(
            f"{bundle.path}: texts of {length} tokens cannot be made of its vocabulary ({len(words):,} whole words). "
            "Give real ones with --data."
        )
    return texts


def _whole_words(tokenizer: Any) -> list[str]:
    """Words that are one token wherever they stand in a text."""
    tokens = sorted(
        {token.removeprefix("\u2581") for token in tokenizer.get_vocab()}
    )  # U+2581: SentencePiece
    return [
        word
        for word in tokens
        if word.isalpha() and len(tokenizer.encode(f"{word} {word}", add_special_tokens=False).ids) == 2
    ]


def _mean_tokens(bundle: Bundle, rows: tuple[Row, ...]) -> float:
    tokenizer = load_tokenizer(bundle.tokenizer_path)
    tokenizer.no_padding()
    tokenizer.enable_truncation(bundle.manifest.max_length)
    return float(np.mean([len(tokenizer.encode(*row).ids) for row in rows]))
