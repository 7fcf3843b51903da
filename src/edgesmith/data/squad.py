"""SQuAD's JSON: articles of paragraphs, each a context with its questions; version 1.1, https://rajpurkar.github.io/SQuAD-explorer/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgesmith.errors import DataError

SQUAD_COLUMNS = ("id", "title", "context", "question", "answers")
"""Of a question as a row, in the hub's order."""


def is_squad(content: Any) -> bool:
    """Whether a JSON document is a data set of this form, and no row of a table."""
    articles = content.get("data") if isinstance(content, dict) else None
    return isinstance(articles, list) and all(isinstance(article, dict) for article in articles)


def squad_rows(content: dict[str, Any], source: str) -> Iterator[tuple[Any, ...]]:
    """The `SQUAD_COLUMNS` of each question.

    Args:
        content: of a file, for which `is_squad` holds.
        source: its name, for messages.

    Raises:
        DataError: a paragraph or a question lacks a part, or has one of another kind.
    """
    for number, article in enumerate(content["data"], start=1):
        try:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    yield (
                        asked["id"],
                        article.get("title"),
                        paragraph["context"],
                        asked["question"],
                        asked["answers"],
                    )
        except (KeyError, TypeError) as problem:
            raise DataError(
                f"{source}, article {number}: not of SQuAD's form ({problem}); expected data > paragraphs > context and qas "
                "> id, question and answers."
            ) from None
