"""Which column is the text, the second text, the image, the label: by name, then by content, else an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgesmith.data.labels import MAX_GUESSED_CLASSES, class_name, is_missing
from edgesmith.data.readers import Table
from edgesmith.errors import DataError, choose_from

# Names in the data sets of GLUE, SuperGLUE, SNLI, SQuAD-like and sentiment sets, in order of preference;
# compared without case, spaces, hyphens and underscores.
PAIR_NAMES = (
    ("sentence1", "sentence2"),
    ("#1string", "#2string"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("question", "answer"),
    ("query", "passage"),
    ("query", "document"),
)
TEXT_NAMES = (
    "text", "sentence", "content", "review", "reviewtext", "comment", "commenttext", "tweet", "message",
    "utterance", "document", "body", "prompt", "question", "query", "input", "headline", "title",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "goldlabel", "target", "class", "category", "sentiment", "intent", "quality",
    "isduplicate", "y", "rating", "stars", "score",
)  # fmt: skip

WORD_NAMES = ("tokens", "words", "text", "sentence")
TAG_NAMES = ("nertags", "tags", "labels", "ner", "entities", "label")

QUESTION_NAMES = ("question", "query")
CONTEXT_NAMES = ("context", "passage", "paragraph", "document")
ANSWER_NAMES = ("answers", "answer")

IMAGE_NAMES = ("image", "img", "picture", "photo", "file", "filename", "imagefile", "imagepath", "path")

_INDEX = re.compile(r"(?i:(.*[ _#-])?(id|idx|index|guid|uuid)|unnamed: 0|__index_level_\d+__)|.*[a-z]I[Dd]")
_INTEGER = re.compile(r"-?\d+")

OPTIONS = {
    "text": "--text-column",
    "pair": "--pair-column",
    "image": "--image-column",
    "label": "--label-column",
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The column that plays each role; `notes` says which were guessed."""

    text: str
    pair: str | None
    label: str
    notes: tuple[str, ...] = ()

    def roles(self) -> dict[str, str]:
        pair = {} if self.pair is None else {"pair": self.pair}
        return {"text": self.text, **pair, "label": self.label}


@dataclass(frozen=True, kw_only=True)
class ImageColumns:
    """The same for a table of images."""

    image: str
    label: str
    notes: tuple[str, ...] = ()

    def roles(self) -> dict[str, str]:
        return {"image": self.image, "label": self.label}


def choose_columns(
    table: Table, *, text: str | None = None, pair: str | None = None, label: str | None = None
) -> Columns:
    """Takes the columns that are named and guesses the others.

    A second text is guessed only where no text is named, and only by name.

    Raises:
        DataError: a named column does not exist or has two roles; or a guess would be arbitrary.
    """
    named = {"text": text, "pair": pair, "label": label}
    _check_named(table, {role: column for role, column in named.items() if column is not None})
    free = [column for column in table.columns if column not in named.values()]
    if text is None and pair is None:
        text, pair = _pair_by_name(free) or (None, None)
    text = text or _by_name(TEXT_NAMES, free)
    label = label or _by_name(LABEL_NAMES, _without(free, text, pair))
    label = label or _label_by_content(table, _without(free, text, pair))
    text = text or _text_by_content(table, _without(free, label, pair))
    chosen = {"text": text, "pair": pair, "label": label}
    guessed = [role for role, column in chosen.items() if column and named[role] is None]
    return Columns(text=text, pair=pair, label=label, notes=_notes(chosen, guessed))


def choose_image_columns(table: Table, *, image: str | None = None, label: str | None = None) -> ImageColumns:
    """Takes the columns that are named and guesses the others.

    Raises:
        DataError: a named column does not exist or has two roles; or a guess would be arbitrary.
    """
    named = {"image": image, "label": label}
    _check_named(table, {role: column for role, column in named.items() if column is not None})
    free = [column for column in table.columns if column not in named.values()]
    image = image or _by_name(IMAGE_NAMES, free) or _image_by_content(table, free)
    label = label or _by_name(LABEL_NAMES, _without(free, image))
    label = label or _label_by_content(table, _without(free, image))
    guessed = [role for role in named if named[role] is None]
    return ImageColumns(image=image, label=label, notes=_notes({"image": image, "label": label}, guessed))


def choose_tag_columns(table: Table, *, text: str | None = None, label: str | None = None) -> Columns:
    """The columns of a table of words and their tags, lists both: as named, or by their names.

    Raises:
        DataError: a named column does not exist or has two roles; or none has a name that is known.
    """
    named = {"text": text, "label": label}
    _check_named(table, {role: column for role, column in named.items() if column is not None})
    free = [column for column in table.columns if column not in named.values()]
    chosen = {
        "text": text or _known_name(table, "text", WORD_NAMES, free),
        "label": label or _known_name(table, "label", TAG_NAMES, free),
    }
    guessed = [role for role in named if named[role] is None]
    return Columns(text=chosen["text"], pair=None, label=chosen["label"], notes=_notes(dict(chosen), guessed))


def choose_question_columns(
    table: Table, *, text: str | None = None, pair: str | None = None, label: str | None = None
) -> Columns:
    """The columns of questions, of their contexts and of the answers: as named, or by their names.

    Raises:
        DataError: a named column does not exist or has two roles; or none has a name that is known.
    """
    named = {"text": text, "pair": pair, "label": label}
    _check_named(table, {role: column for role, column in named.items() if column is not None})
    free = [column for column in table.columns if column not in named.values()]
    known = {"text": QUESTION_NAMES, "pair": CONTEXT_NAMES, "label": ANSWER_NAMES}
    chosen = {role: named[role] or _by_name(names, free) for role, names in known.items()}
    for role, names in known.items():
        if chosen[role] is None:
            raise DataError(
                f"{table.source}: no column is called {' or '.join(names)}. Name it with {OPTIONS[role]}, or give SQuAD's "
                f"JSON. Columns: {', '.join(map(repr, table.columns))}."
            )
    question, context, answers = map(str, chosen.values())
    guessed = [role for role in named if named[role] is None]
    return Columns(text=question, pair=context, label=answers, notes=_notes(chosen, guessed))


def _known_name(table: Table, role: str, names: tuple[str, ...], columns: list[str]) -> str:
    found = _by_name(names, columns)
    if found is None:
        raise DataError(_ambiguous(table, role, [], ""))
    return found


def choose_text_column(table: Table, *, text: str | None, option: str) -> tuple[str, tuple[str, ...]]:
    """The column of texts of a table without labels, as named or guessed, and a note where it was guessed.

    Args:
        option: what names the column, for messages.

    Raises:
        DataError: the named column does not exist; or a guess would be arbitrary.
    """
    if text is not None:
        if text not in table.columns:
            raise DataError(f"{table.source}: {option}: {choose_from('column', text, table.columns)}")
        return text, ()
    free = _without(table.columns)
    found = _by_name(TEXT_NAMES, free) or _text_by_content(table, free, option)
    return found, (f"{table.source}: text is column {found!r} (guessed; {option} names another).",)


def choose_input_columns(
    table: Table, *, first: str | None, pair: str | None, images: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the inputs of a table whose labels do not matter, as named or guessed, and what was guessed.

    Args:
        first: of the image, or of the first or only text.
        pair: of the second text; guessed only where no text is named, and only by name.

    Raises:
        DataError: a named column does not exist or has two roles; or a guess would be arbitrary.
    """
    role = "image" if images else "text"
    named = {role: first, "pair": pair}
    _check_named(table, {role: column for role, column in named.items() if column is not None})
    free = [column for column in table.columns if column not in named.values()]
    if images:
        first = first or _by_name(IMAGE_NAMES, free) or _image_by_content(table, free)
    else:
        if first is None and pair is None:
            first, pair = _pair_by_name(free) or (None, None)
        names = (*TEXT_NAMES, *WORD_NAMES)
        first = first or _by_name(names, free) or _text_by_content(table, _without(free, pair))
    chosen = {role: first, "pair": pair}
    guessed = [role for role, column in chosen.items() if column and named[role] is None]
    return (first,) if pair is None else (first, pair), _notes(chosen, guessed)


def _notes(chosen: dict[str, str | None], guessed: list[str]) -> tuple[str, ...]:
    hint = "guessed; {} names another"
    return tuple(f"{role} is column {chosen[role]!r} ({hint.format(OPTIONS[role])})." for role in guessed)


def _check_named(table: Table, named: dict[str, str]) -> None:
    for role, column in named.items():
        if column not in table.columns:
            problem = choose_from("column", column, table.columns)
            raise DataError(f"{table.source}: {OPTIONS[role]}: {problem}")
    if len(set(named.values())) < len(named):
        options = " and ".join(f"{OPTIONS[role]} {column!r}" for role, column in named.items())
        raise DataError(f"{table.source}: {options} must be different columns.")


def _without(columns: Iterable[str], *taken: str | None) -> list[str]:
    return [column for column in columns if column not in taken and not _INDEX.fullmatch(column)]


def _plain(column: str) -> str:
    return re.sub(r"[\s_-]", "", column.casefold())


def _by_name(names: Iterable[str], columns: list[str]) -> str | None:
    by_plain = {_plain(column): column for column in reversed(columns)}
    return next((by_plain[name] for name in names if name in by_plain), None)


def _pair_by_name(columns: list[str]) -> tuple[str, str] | None:
    by_plain = {_plain(column): column for column in reversed(columns)}
    pairs = (pair for pair in PAIR_NAMES if pair[0] in by_plain and pair[1] in by_plain)
    return next(((by_plain[first], by_plain[second]) for first, second in pairs), None)


def _label_by_content(table: Table, columns: list[str]) -> str:
    """The only column with few distinct values; without a header, the only such column of integers."""
    distinct = {column: _distinct(table, column) for column in columns}
    most = min(MAX_GUESSED_CLASSES, len(table.frame) // 2)
    found = [column for column, values in distinct.items() if 2 <= len(values) <= most]
    if len(found) > 1 and table.columns[0] == "col0":
        found = [column for column in found if all(map(_INTEGER.fullmatch, distinct[column]))]
    if len(found) != 1:
        raise DataError(_ambiguous(table, "label", found or columns, "have few distinct values"))
    return found[0]


def _distinct(table: Table, column: str) -> set[str]:
    return {name for name in map(class_name, table.frame[column]) if name is not None}


def _image_by_content(table: Table, columns: list[str]) -> str:
    """The only column of binary cells, or of the hub's structs of them."""
    found = [column for column in columns if isinstance(table.frame[column].iloc[0], bytes | dict)]
    if len(found) != 1:
        raise DataError(_ambiguous(table, "image", found, "hold binary data"))
    return found[0]


def _text_by_content(table: Table, columns: list[str], option: str = OPTIONS["text"]) -> str:
    """The column of strings that is by far the longest."""
    lengths = {column: _mean_length(table, column) for column in columns}
    ranked = sorted((column for column in columns if lengths[column]), key=lambda column: -lengths[column])
    if not ranked or (len(ranked) > 1 and lengths[ranked[1]] > lengths[ranked[0]] / 2):
        raise DataError(_ambiguous(table, "text", ranked, "hold texts of similar length", option))
    return ranked[0]


def _mean_length(table: Table, column: str) -> float:
    """Mean number of characters, an empty cell counting 0; 0 for a column that holds anything but strings."""
    cells = [cell for cell in table.frame[column] if not is_missing(cell)]
    if not all(isinstance(cell, str) for cell in cells):
        return 0.0
    return sum(map(len, cells)) / len(table.frame)


def _ambiguous(table: Table, role: str, found: list[str], why: str, option: str | None = None) -> str:
    clue = f"{', '.join(map(repr, found))} {why}" if len(found) > 1 else "none fits"
    return (
        f"{table.source}: the {role} column cannot be guessed ({clue}). Name it with "
        f"{option or OPTIONS[role]}. Columns: {', '.join(map(repr, table.columns))}."
    )
