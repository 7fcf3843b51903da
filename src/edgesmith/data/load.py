"""From the data configuration to three splits of examples, or to the labelled rows of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from edgesmith.data.columns import OPTIONS, Columns, ImageColumns, choose_columns, choose_image_columns
from edgesmith.data.examples import E, ImageExamples, Splits, TextExamples, fingerprint
from edgesmith.data.image_folders import find_image_tables
from edgesmith.data.labels import (
    check_are_classes,
    class_name,
    is_missing,
    score,
    sort_classes,
    text_of,
)
from edgesmith.data.readers import Table
from edgesmith.data.sources import find_tables
from edgesmith.data.splits import carve, find_equal, find_leaks, row_groups
from edgesmith.errors import DataError, choose_from
from edgesmith.recipe import DataConfig

_MOST_CARVED = 6000  # rows; the 95 % interval of an accuracy of 90 % is then +-0.8 points
_POOL = 10  # rows drawn for each that will be used: carving costs time for all of them, and rare classes need several


@dataclass(frozen=True)
class Rows:
    """A table's usable rows; `inputs` has a tuple for each input column, `labels` are class names or scores."""

    table: Table
    inputs: list[tuple[Any, ...]]
    labels: tuple[Any, ...]


@dataclass(frozen=True)
class RowKind(Generic[E]):
    """What differs between texts and images.

    Attributes:
        examples: made of the input columns and the labels.
        read: an input cell of a table, with its place in words.
        leaks: held-out rows that a training row gives away.
        labels: what these say.
        groups: of each row, [rows]; those of one are carved together (`splits.row_groups`).
        may_lack: a row that lacks a cell is left out; else it is refused.
    """

    examples: Callable[[list[tuple[Any, ...]], tuple[Any, ...]], E]
    read: Callable[[Any, Table, str], Any]
    leaks: Callable[[E, E], list[int]]
    labels: LabelKind
    groups: Callable[[E], NDArray[np.int64]] = row_groups
    may_lack: bool = True


@dataclass(frozen=True)
class LabelKind:
    """What differs between classes, scores and tags.

    Attributes:
        read: a label cell, with its place in words.
        names: of the labels by index, from the rows of every split; refuses labels that make no sense. Its last argument
            is whether the column is no guess.
        unknown: the labels among some that a model with these names cannot give.
        encode: labels as examples hold them, with the names.
        check: refuses a row whose label does not fit its inputs, with its place in words.
        are_classes: every part of the data needs rows of each.
    """

    read: Callable[[Any, str], Any]
    names: Callable[[dict[str, Rows], str, bool], tuple[str, ...]]
    unknown: Callable[[tuple[Any, ...], tuple[str, ...]], tuple[str, ...]]
    encode: Callable[[tuple[Any, ...], tuple[str, ...]], tuple[Any, ...]]
    check: Callable[[list[Any], Any, str], None] = lambda _inputs, _label, _where: None
    are_classes: bool = False


def load_splits(config: DataConfig, seed: int, *, scores: bool = False) -> Splits[TextExamples]:
    """Reads, checks and splits the data.

    A labelled test split is used as it is. Where there is none, the validation split is the test split; where
    there is neither, a test split is carved. A missing validation split is carved. Carved rows come out of the
    training rows in containment groups (`splits.carve`).

    Args:
        seed: of carving and sampling.
        scores: whether labels are numbers to predict, not classes; `label_names` is then the column's name alone.

    Raises:
        DataError: with the file and the row or column, and what to do.
        UnsupportedError: the labels are no classes, where they should be.
        MissingExtraError: a hub dataset, and `datasets` is not installed.
    """
    tables = find_tables(config.path)
    columns = choose_columns(tables["train"], text=config.text, pair=config.pair, label=config.label)
    return split_tables(config, seed, tables, columns, _SCORED_TEXTS if scores else _TEXTS)


def load_image_splits(config: DataConfig, seed: int) -> Splits[ImageExamples]:
    """The same for images: a folder of them (`find_image_tables`), or tables with a column of images.

    Carved images come out of the training images together with every equal file.

    Raises:
        DataError, UnsupportedError, MissingExtraError: as `load_splits`.
    """
    tables = find_image_tables(config.path)
    columns = choose_image_columns(tables["train"], image=config.image, label=config.label)
    return split_tables(config, seed, tables, columns, _IMAGES)


def split_tables(
    config: DataConfig, seed: int, tables: dict[str, Table], columns: Columns | ImageColumns, kind: RowKind[E]
) -> Splits[E]:
    """The splits of some tables, as `load_splits` has it.

    Args:
        columns: of every table.
    """
    notes = [*(note for table in tables.values() for note in table.notes), *columns.notes]
    rows = _labelled_rows(tables, columns, kind, notes)
    is_named = config.label is not None or isinstance(columns, ImageColumns)  # scores of images are rare
    names = kind.labels.names(rows, columns.label, is_named)
    given = {split: _encode(part, names, kind) for split, part in rows.items()}
    if "test" not in given and "validation" in given:
        given["test"] = given.pop("validation")
        source = tables["validation"].source
        notes.append(
            f"test: there is no labelled test split; {source} takes its place, used once at the end."
        )
    of_each_class = kind.labels.are_classes
    splits = _carve_missing(given, config, seed, notes, kind)
    splits["train"] = _sample(splits["train"], config.max_rows, seed, notes, of_each_class=of_each_class)
    for split, part in given.items():
        if split != "train":
            notes.append(_leak_note(split, len(part), len(kind.leaks(splits["train"], part))))
    return Splits(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        label_names=names,
        columns=columns.roles(),
        notes=tuple(notes),
        test_is_held_out="test" in given,
        fingerprint=fingerprint(splits["train"], splits["validation"], splits["test"]),
    )


def load_labelled(
    config: DataConfig, label_names: tuple[str, ...], *, scores: bool = False
) -> tuple[TextExamples, tuple[str, ...]]:
    """Every labelled row of a file, or of a folder's test split, for a model whose classes are known.

    Nothing is carved or sampled, and any mix of the classes will do. Where a folder has no labelled test split, its
    validation split counts, and where it has neither, its training split.

    Args:
        label_names: name of each class by its index.
        scores: whether labels are numbers.

    Returns:
        The rows, and a sentence for everything that was guessed or dropped.

    Raises:
        DataError: with the file and the row or column; or a label that is none of `label_names`.
        MissingExtraError: a hub dataset, and `datasets` is not installed.
    """
    tables = find_tables(config.path)
    columns = choose_columns(tables["train"], text=config.text, pair=config.pair, label=config.label)
    return take_labelled(tables, columns, label_names, _SCORED_TEXTS if scores else _TEXTS)


def load_labelled_images(
    config: DataConfig, label_names: tuple[str, ...]
) -> tuple[ImageExamples, tuple[str, ...]]:
    """The same for images."""
    tables = find_image_tables(config.path)
    columns = choose_image_columns(tables["train"], image=config.image, label=config.label)
    return take_labelled(tables, columns, label_names, _IMAGES)


def take_labelled(
    tables: dict[str, Table], columns: Columns | ImageColumns, label_names: tuple[str, ...], kind: RowKind[E]
) -> tuple[E, tuple[str, ...]]:
    """The labelled rows of one of some tables, as `load_labelled` has it."""
    held_out = (tables[split] for split in ("test", "validation") if split in tables)
    table: Table = next((part for part in held_out if _is_labelled(part, columns.label)), tables["train"])
    notes = [*table.notes, *columns.notes]
    rows = _read_rows(table, columns, kind, notes)
    unknown = kind.labels.unknown(rows.labels, label_names)
    if unknown:
        raise DataError(
            f"{table.source}, column {columns.label!r}: labels that the model does not know: "
            f"{', '.join(map(repr, unknown))}. Allowed: {', '.join(map(repr, label_names))}. "
            "--label-column names another column."
        )
    return _encode(rows, label_names, kind), tuple(notes)


def _labelled_rows(
    tables: dict[str, Table], columns: Columns | ImageColumns, kind: RowKind[Any], notes: list[str]
) -> dict[str, Rows]:
    """Usable rows of every split that has labels; the training split must."""
    rows = {}
    for split, table in tables.items():
        if split == "train" or _is_labelled(table, columns.label):
            rows[split] = _read_rows(table, columns, kind, notes)
        else:
            notes.append(f"{table.source} has no labels and is ignored.")
    return rows


def _is_labelled(table: Table, label: str) -> bool:
    """False where the label column is absent, or empty or -1 (the hub's "unknown") from end to end."""
    return label in table.columns and not set(map(class_name, table.frame[label])) <= {None, "-1"}


def _read_rows(table: Table, columns: Columns | ImageColumns, kind: RowKind[Any], notes: list[str]) -> Rows:
    """The rows that have every input and a label; the others are counted in a note."""
    names = list(columns.roles().values())
    for name in names:
        if name not in table.columns:
            raise DataError(f"{table.source}: " + choose_from("column", name, table.columns))
    kept: list[tuple[Any, ...]] = []
    dropped: list[int] = []
    for position, *cells in zip(table.frame.index, *(table.frame[name] for name in names), strict=True):
        lacks = [name for name, cell in zip(names, cells, strict=True) if is_missing(cell)]
        if lacks and not kind.may_lack:
            raise DataError(
                f"{table.at(position)}, column {lacks[0]!r}: empty; expected a cell in each of {', '.join(map(repr, names))}. "
                "Fill it, or remove the row."
            )
        if lacks:
            dropped.append(position)
        else:
            kept.append(_read_row(cells, names, table, position, kind))
    if not kept:
        raise DataError(f"{table.source}: no row has a cell in each of {', '.join(map(repr, names))}.")
    if dropped:
        first = f"{table.unit} {dropped[0]}"
        what = next(iter(columns.roles()))
        notes.append(
            f"{table.source}: {len(dropped):,} rows without {what} or label dropped (first: {first})."
        )
    *inputs, labels = zip(*kept, strict=True)
    return Rows(table, inputs, labels)


def _read_row(
    cells: list[Any], names: list[str], table: Table, position: int | str, kind: RowKind[Any]
) -> tuple[Any, ...]:
    """The inputs, then the label."""
    places = [f"{table.at(position)}, column {name!r}" for name in names]
    inputs = [kind.read(cell, table, where) for cell, where in zip(cells[:-1], places[:-1], strict=True)]
    label = kind.labels.read(cells[-1], places[-1])
    kind.labels.check(inputs, label, table.at(position))
    return (*inputs, label)


def _read_text(cell: Any, _: Table, where: str) -> str:
    return text_of(cell, where, OPTIONS["text"])


def read_image(cell: Any, table: Table, where: str) -> Path | bytes:
    """A file's content, or its path; the hub stores either in a struct, and paths are relative to the table."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, str | Path):
        kind = type(cell).__name__
        raise DataError(f"{where}: expected an image, got {kind} {cell!r:.80}. --image-column names another.")
    path = Path(table.source).parent / cell
    if not path.is_file():
        raise DataError(f"{where}: no such image file: {path}.")
    return path


def _read_label(cell: Any, where: str) -> str:
    name = class_name(cell)
    if name is None or not np.isscalar(cell):
        raise DataError(
            f"{where}: expected a label (a string, an integer or a boolean), got {type(cell).__name__} {cell!r}. "
            "--label-column names another column."
        )
    return name


def _read_score(cell: Any, where: str) -> float:
    value = score(cell)
    if value is None:
        raise DataError(
            f"{where}: expected a number, got {cell!r:.80}. --label-column names another column; for classes, "
            "--task text-classification."
        )
    return value


def _score_names(rows: dict[str, Rows], label: str, _is_named: bool) -> tuple[str, ...]:
    """The name of the column."""
    train = rows["train"]
    if len(set(train.labels)) == 1:
        raise DataError(
            f"{train.table.source}, column {label!r}: every row has the score {train.labels[0]:g}; nothing can be learnt. "
            "--label-column names another column."
        )
    return (label,)


def _class_names(rows: dict[str, Rows], label: str, is_named: bool) -> tuple[str, ...]:
    """At least two classes, and no class that the training rows do not have."""
    source, names = rows["train"].table.source, sort_classes(rows["train"].labels)
    check_are_classes(names, label, source, is_named=is_named)
    if len(names) == 1:
        raise DataError(
            f"{source}, column {label!r}: every row has the label {names[0]!r}; two or more classes are needed. "
            "--label-column names another column."
        )
    for part in rows.values():
        check_are_known(_unknown_classes(part.labels, names), part.table.source, label, names)
    return names


def check_are_known(unseen: tuple[str, ...], source: str, label: str, names: tuple[str, ...]) -> None:
    """Refuses labels of a split that are none of the training rows'."""
    if unseen:
        raise DataError(
            f"{source}, column {label!r}: labels that no training row has: "
            f"{', '.join(map(repr, unseen))}. Allowed: {', '.join(map(repr, names))}."
        )


def _unknown_classes(labels: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return sort_classes(set(labels) - set(names))


def _class_indices(labels: tuple[str, ...], names: tuple[str, ...]) -> tuple[int, ...]:
    index = {name: i for i, name in enumerate(names)}
    return tuple(index[name] for name in labels)


def _encode(rows: Rows, names: tuple[str, ...], kind: RowKind[E]) -> E:
    return kind.examples(rows.inputs, kind.labels.encode(rows.labels, names))


def _carve_missing(
    given: dict[str, E], config: DataConfig, seed: int, notes: list[str], kind: RowKind[E]
) -> dict[str, E]:
    """All three splits; the test split is carved first, so that validation rows do not contain it either."""
    splits, of_each_class = dict(given), kind.labels.are_classes
    tenth = max(1, min(len(given["train"]) // 10, _MOST_CARVED))
    validation_rows = tenth if config.validation_rows is None else config.validation_rows
    wanted = {
        split: rows
        for split, rows in (("test", tenth), ("validation", validation_rows))
        if split not in given
    }
    if wanted and config.max_rows is not None:
        pool = _POOL * (config.max_rows + sum(wanted.values()))
        splits["train"] = _sample(given["train"], pool, seed, notes, of_each_class=of_each_class)
    for split, rows in wanted.items():
        try:
            splits["train"], splits[split], carved = carve(
                splits["train"], rows, seed, name=split, of_each_class=of_each_class, groups=kind.groups
            )
        except DataError as problem:
            raise DataError(f"{config.path}: {problem}") from None
        notes += carved
    return splits


def _sample(train: E, max_rows: int | None, seed: int, notes: list[str], *, of_each_class: bool = True) -> E:
    """At most `max_rows` rows at random, in their order."""
    if max_rows is None or len(train) <= max_rows:
        return train
    order = np.random.default_rng(seed).permutation(len(train))
    labels = np.array(train.labels)[order] if of_each_class else np.zeros(0)
    first_of_class = np.unique(labels, return_index=True)[1]
    if len(first_of_class) > max_rows:
        raise DataError(f"data.max_rows is {max_rows}; allowed: the {len(first_of_class)} classes or more.")
    taken = np.concatenate([order[first_of_class], np.delete(order, first_of_class)])[:max_rows]
    notes.append(f"train: {max_rows:,} of {len(train):,} rows sampled.")
    return train.take(np.sort(taken))


def _leak_note(split: str, rows: int, leaks: int) -> str:
    return f"{split}: {leaks:,} of {rows:,} rows are contained in a training row; all are kept, as provided."


_CLASSES = LabelKind(_read_label, _class_names, _unknown_classes, _class_indices, are_classes=True)
_SCORES = LabelKind(_read_score, _score_names, lambda *_: (), lambda labels, _: labels)

_TEXTS = RowKind(
    examples=lambda inputs, labels: TextExamples(inputs[0], inputs[1] if len(inputs) > 1 else None, labels),
    read=_read_text,
    leaks=find_leaks,
    labels=_CLASSES,
)
_SCORED_TEXTS = replace(_TEXTS, labels=_SCORES)
_IMAGES = RowKind(
    examples=lambda inputs, labels: ImageExamples(inputs[0], labels),
    read=read_image,
    leaks=find_equal,
    labels=_CLASSES,
)
