"""Carves held-out rows so that none of them can be read off a training row.

A row is *contained* in another where its text stands in the other's text as a contiguous sequence of
casefolded words; for pairs, where both texts do, each on its side. Rows contained in no other row are roots:
the sentences whose phrases are the other rows. If a row v is contained in a row r, every root that contains r
contains v. So if all roots of v are held out, all roots of r are, and r is held out too: holding out the rows
that belong to whole groups of roots leaks nothing, and no row has to be dropped.

An image is contained in another where the two files are the same, byte by byte.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from edgesmith.data.examples import E, ImageExamples, TextExamples
from edgesmith.data.phrases import Item, ItemIndex, Tokens, tokenize
from edgesmith.errors import DataError

SHARED = -1  # group of a row that is contained in roots of more than one group: it always stays in training

# Roots that share a text of this many tokens are near duplicates and stay together. SST-2 has 6,885 roots:
# 6 tokens leave 6,869 groups (largest: 42 of 67,349 rows), 4 tokens leave 6,722 (largest: 186).
_LINK_TOKENS = 6
_MAX_DRAWS = 100  # a class of two groups is on both sides in about one draw of five


def containment_groups(texts: Sequence[str], pairs: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Group of each row; a row is contained only in rows of its own group, unless its own group is `SHARED`.

    A group is a set of roots, linked where they share a row's text of six or more tokens (for pairs: on either
    side), with every row that no other group's root contains. A text that more than one root in a hundred
    holds is a template and links nothing.

    Returns:
        shape [rows]; 0 and up, or `SHARED`.
    """
    items = _items(texts, pairs)
    index = ItemIndex(items)
    contained = [index.contained(item) for item in index.ids]
    inner = {inside for number, found in enumerate(contained) for inside in found if inside != number}
    roots = [number for number in range(len(contained)) if number not in inner]
    groups: dict[int, int] = {}
    for root, group in zip(roots, _link(index, roots), strict=True):
        for number in contained[root]:
            groups[number] = group if groups.get(number, group) == group else SHARED
    return np.array([groups[index.ids[item]] for item in items], dtype=np.int64)


def duplicate_groups(images: ImageExamples) -> NDArray[np.int64]:
    """Group of each image, [rows]: the same for equal files, 0 and up."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in images.hashes], dtype=np.int64)


def find_equal(train: ImageExamples, validation: ImageExamples) -> list[int]:
    """Indices of the validation images that are training images too."""
    known = set(train.hashes)
    return [row for row, key in enumerate(validation.hashes) if key in known]


def find_leaks(train: TextExamples, validation: TextExamples) -> list[int]:
    """Indices of the validation rows that are contained in a training row."""
    items = _items(validation.texts, validation.pairs)
    index = ItemIndex(items)
    leaked = {number for item in set(_items(train.texts, train.pairs)) for number in index.contained(item)}
    return [row for row, item in enumerate(items) if index.ids[item] in leaked]


def carve(
    examples: E,
    rows: int,
    seed: int,
    *,
    name: str = "validation",
    of_each_class: bool = True,
    groups: Callable[[E], NDArray[np.int64]] | None = None,
) -> tuple[E, E, tuple[str, ...]]:
    """Parts `rows` rows from `examples`, in whole containment groups drawn at random.

    Args:
        rows: wanted; groups are not split, so a few less may come.
        name: of the part, for the notes.
        of_each_class: both parts shall have rows of every class; False where labels are scores.
        groups: of each row; `row_groups` if left out.

    Returns:
        What stays, what was carved, and notes; both keep the order of the rows. No carved row is contained
        in a row that stays, and no row is lost.

    Raises:
        DataError: there are too few rows or groups, or a class would be missing on one side.
    """
    if not 0 < rows < len(examples):
        raise DataError(
            f"cannot carve {rows:,} {name} rows out of {len(examples):,}; allowed: 1 to {len(examples) - 1:,}."
        )
    group = (groups or row_groups)(examples)
    labels = np.array(examples.labels if of_each_class else [0] * len(examples), np.int64)
    generator = np.random.default_rng(seed)
    for _ in range(_MAX_DRAWS):
        is_held = _draw(group, rows, generator)
        missing = _missing_class(labels, is_held)
        if missing is None:
            stays, carved = np.flatnonzero(~is_held), np.flatnonzero(is_held)
            notes = (_carving_note(group, is_held, rows, name),)
            return examples.take(stays), examples.take(carved), notes
    separable = set(group[labels == missing]) - {SHARED}
    raise DataError(
        f"no {rows:,} {name} rows of {len(examples):,} can be carved so that every class is on both sides and "
        f"no carved row is contained in a training row: class {missing} has {np.sum(labels == missing):,} "
        f"rows in {len(separable):,} separable groups. Give more rows of it, ask for more {name} rows, or "
        f"provide a file {name}.*."
    )


def row_groups(examples: TextExamples | ImageExamples) -> NDArray[np.int64]:
    """Group of each row, [rows], as `containment_groups` or `duplicate_groups` has it."""
    if isinstance(examples, ImageExamples):
        return duplicate_groups(examples)
    return containment_groups(examples.texts, examples.pairs)


def context_groups(examples: TextExamples) -> NDArray[np.int64]:
    """Group of each question, [rows]: the same for those of one context, and of contexts that contain each other."""
    return containment_groups(_contexts(examples).texts)


def find_known_contexts(train: TextExamples, validation: TextExamples) -> list[int]:
    """Indices of the validation questions whose context is contained in that of a training question."""
    return find_leaks(_contexts(train), _contexts(validation))


def _contexts(examples: TextExamples) -> TextExamples:
    """As if these were all there is of each row."""
    return TextExamples(examples.pairs or (), None, examples.labels)


def _items(texts: Sequence[str], pairs: Sequence[str] | None) -> list[Item]:
    sides = (texts,) if pairs is None else (texts, pairs)
    return [tuple(map(tokenize, row)) for row in zip(*sides, strict=True)]


def _link(index: ItemIndex, roots: list[int]) -> NDArray[np.int32]:
    """Group of each root: connected components of roots and the long texts they hold."""
    items = list(index.ids)
    holders: dict[Tokens, list[int]] = defaultdict(list)
    for position, root in enumerate(roots):
        for side, tokens in zip(index.sides, items[root], strict=True):
            for phrase in side.inside(tokens):
                if len(phrase) >= _LINK_TOKENS:
                    holders[phrase].append(position)
    most = max(10, len(roots) // 100)
    links = [positions for positions in holders.values() if 1 < len(positions) <= most]
    edges = [(positions[0], other) for positions in links for other in positions[1:]]
    first, second = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (first, second)), shape=(len(roots), len(roots)))
    groups: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return groups


def _draw(groups: NDArray[np.int64], rows: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Mask [rows of the data] of whole groups in random order, each taken while it fits into `rows`."""
    sizes = np.bincount(groups[groups != SHARED])
    room, drawn = rows, []
    for group in generator.permutation(len(sizes)):
        if sizes[group] <= room:
            drawn.append(group)
            room -= int(sizes[group])
    return np.isin(groups, drawn)


def _missing_class(labels: NDArray[np.int64], is_held: NDArray[np.bool_]) -> int | None:
    """A class that only one side has."""
    missing = np.setxor1d(labels[is_held], labels[~is_held])
    return int(missing[0]) if len(missing) else None


def _carving_note(groups: NDArray[np.int64], is_held: NDArray[np.bool_], rows: int, name: str) -> str:
    held = int(is_held.sum())
    short = "" if held == rows else f" ({rows:,} were wanted)"
    return (
        f"{name}: {held:,} of {len(groups):,} training rows were carved{short}, "
        f"{len(set(groups[is_held])):,} whole containment groups; none is contained in a row that stays. "
        f"{np.sum(groups == SHARED):,} rows that belong to several groups stay."
    )
