"""Texts whose words have tags: from the data configuration to three splits, or to the labelled rows of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from edgesmith.data.columns import OPTIONS, Columns, choose_tag_columns
from edgesmith.data.examples import Splits, TextExamples
from edgesmith.data.labels import class_name, sort_classes, text_of
from edgesmith.data.load import LabelKind, RowKind, Rows, check_are_known, split_tables, take_labelled
from edgesmith.data.readers import Table
from edgesmith.data.sources import find_tables
from edgesmith.data.splits import find_leaks
from edgesmith.errors import DataError
from edgesmith.recipe import DataConfig
from edgesmith.runtime.entities import OUTSIDE, PREFIXES, is_tag, split_tag


def load_tagged_splits(config: DataConfig, seed: int, *, has_entities: bool = True) -> Splits[TextExamples]:
    """Reads, checks and splits sentences and the tags of their words, as `load_splits` does texts.

    Args:
        has_entities: tags are those of entities: `O`, or a prefix, a hyphen and a type. `label_names` then has B and I of
            every type of the training rows.

    Raises:
        DataError: with the file and the row or column, and what to do.
        MissingExtraError: a hub dataset, and `datasets` is not installed.
    """
    tables, columns = _open(config)
    return split_tables(config, seed, tables, columns, _kind(has_entities=has_entities))


def load_tagged(config: DataConfig, label_names: tuple[str, ...]) -> tuple[TextExamples, tuple[str, ...]]:
    """Every tagged sentence of a file, or of a folder's test split, as `load_labelled` does texts.

    Args:
        label_names: the tags that the model knows.
    """
    tables, columns = _open(config)
    return take_labelled(tables, columns, label_names, _kind(has_entities=all(map(is_tag, label_names))))


def _open(config: DataConfig) -> tuple[dict[str, Table], Columns]:
    """The tables, with tags by their names, and the columns of words and tags."""
    tables = find_tables(config.path)
    columns = choose_tag_columns(tables["train"], text=config.text, label=config.label)
    return {split: _with_names(table, columns.label) for split, table in tables.items()}, columns


def _with_names(table: Table, label: str) -> Table:
    """Integers of the label column become the tags that the data set names for them."""
    names = table.class_names.get(label)
    if names is None:
        return table
    cells = [
        _named(cell, names, f"{table.at(position)}, column {label!r}")
        for position, cell in table.frame[label].items()
    ]
    return replace(table, frame=table.frame.assign(**{label: cells}))


def _named(cell: Any, names: tuple[str, ...], where: str) -> Any:
    """None where every tag is -1, the hub's "unknown"."""
    if not isinstance(cell, list | np.ndarray) or not all(_is_number(tag) for tag in cell):
        return cell
    if set(cell) == {-1}:
        return None
    for place, tag in enumerate(cell, start=1):
        if not 0 <= tag < len(names):
            raise DataError(
                f"{where}: tag {place} is {tag}; allowed: 0 to {len(names) - 1}, for which the data set has the names "
                f"{', '.join(names)}. Correct the row, or remove it."
            )
    return [names[int(tag)] for tag in cell]


def _is_number(tag: Any) -> bool:
    return isinstance(tag, int | np.integer) and not isinstance(tag, bool)


def _kind(*, has_entities: bool) -> RowKind[TextExamples]:
    return RowKind(
        examples=lambda inputs, labels: TextExamples(inputs[0], None, labels),
        read=_read_words,
        leaks=find_leaks,
        labels=LabelKind(
            read=_read_entity_tags if has_entities else _read_tags,
            names=_entity_names if has_entities else _tag_names,
            unknown=_unknown_tags,
            encode=lambda labels, _: labels,
            check=_check_lengths,
        ),
    )


def _read_words(cell: Any, _: Table, where: str) -> str:
    """Words with one space between them, from a list or a text."""
    words = [text_of(word, where, OPTIONS["text"]) for word in _items(cell, where, "words", OPTIONS["text"])]
    for word in words:
        if word.split() != [word]:
            raise DataError(
                f"{where}: {word!r} is no word: it is empty or holds white space. Give each word an item, and a tag, of "
                "its own."
            )
    return " ".join(words)


def _read_tags(cell: Any, where: str) -> tuple[str, ...]:
    items = _items(cell, where, "tags", OPTIONS["label"])
    if numbers := [place for place, tag in enumerate(items, start=1) if _is_number(tag)]:
        raise DataError(
            f"{where}: tag {numbers[0]} is the number {items[numbers[0] - 1]}, and nothing names it; expected a text, such "
            "as B-PER. Write the tags' names into the file, or give a Parquet file whose features name them (ClassLabel)."
        )
    tags = tuple(class_name(tag) or "" for tag in items)
    if "" in tags:
        raise DataError(f"{where}: tag {tags.index('') + 1} is missing; expected one for each word.")
    return tags


def _read_entity_tags(cell: Any, where: str) -> tuple[str, ...]:
    tags = _read_tags(cell, where)
    for place, tag in enumerate(tags, start=1):
        if not is_tag(tag):
            raise DataError(
                f"{where}: tag {place} is {tag!r}; allowed: {OUTSIDE}, or one of {', '.join(PREFIXES)}, a hyphen and a "
                "type, such as B-PER. For tags that are no entities, type: --metric tag_accuracy"
            )
    return tags


def _items(cell: Any, where: str, what: str, option: str) -> list[Any]:
    """Of a list, or the words of a text."""
    if isinstance(cell, str):
        return cell.split()
    if isinstance(cell, list | tuple | np.ndarray):
        return list(cell)
    raise DataError(
        f"{where}: expected {what} (a list, or a text with spaces between them), got {type(cell).__name__} "
        f"{cell!r:.80}. {option} names another column."
    )


def _check_lengths(inputs: list[Any], tags: tuple[str, ...], where: str) -> None:
    words = inputs[0].split(" ")
    if len(words) != len(tags):
        raise DataError(
            f"{where}: {len(words)} words and {len(tags)} tags ({words[0]} ... {words[-1]}; {tags[0]} ... {tags[-1]}); "
            "each word needs exactly one."
        )


def _tag_names(rows: dict[str, Rows], label: str, _is_named: bool) -> tuple[str, ...]:
    """The tags of the training rows, two or more, and no other in the other splits."""
    train = rows["train"]
    return _checked(rows, sort_classes(_different(train.labels)), label)


def _entity_names(rows: dict[str, Rows], label: str, _is_named: bool) -> tuple[str, ...]:
    """O, and for each type of the training rows its tags with B and I, and with E and S where these are used."""
    used = {split_tag(tag) for tag in _different(rows["train"].labels) if tag != OUTSIDE}
    kinds = sorted({kind for _, kind in used})
    prefixes = [prefix for prefix in PREFIXES if prefix in ("B", "I") or prefix in {one for one, _ in used}]
    return _checked(rows, (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in prefixes)), label)


def _checked(rows: dict[str, Rows], names: tuple[str, ...], label: str) -> tuple[str, ...]:
    source = rows["train"].table.source
    if len(names) == 1:
        raise DataError(
            f"{source}, column {label!r}: every word has the tag {names[0]!r}; nothing can be learnt. "
            "--label-column names another column."
        )
    for part in rows.values():
        check_are_known(_unknown_tags(part.labels, names), part.table.source, label, names)
    return names


def _different(labels: tuple[tuple[str, ...], ...]) -> set[str]:
    return {tag for tags in labels for tag in tags}


def _unknown_tags(labels: tuple[tuple[str, ...], ...], names: tuple[str, ...]) -> tuple[str, ...]:
    return sort_classes(_different(labels) - set(names))
