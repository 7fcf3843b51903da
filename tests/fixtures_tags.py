"""A small task of named entities: seeded sentences in which names and places stand among other words."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from edgesmith.recipe import DataConfig, Recipe

PEOPLE = (
    "Ada Lovelace",
    "Grace Hopper",
    "Alan Turing",
    "Karen",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Donald",
)
PLACES = ("London", "New York", "Paris", "Amsterdam", "Buenos Aires", "Oslo")
FRAMES = (
    "{person} lives in {place} now .",
    "Yesterday , {person} left {place} for good .",
    "{place} is where {person} met {other} .",
    "Nobody saw the ship .",
    "Did {person} and {other} write this in {place} ?",
    "The train to {place} was late , and so was the bus to {place} .",
)
SENTENCES = {"train": 300, "validation": 80, "test": 90}


def sentences(count: int, seed: int) -> list[list[tuple[str, str]]]:
    """Words and their tags, of PER and LOC."""
    generator = random.Random(seed)
    made = []
    for number in range(count):
        names = {
            "person": (generator.choice(PEOPLE), "PER"),
            "other": (generator.choice(PEOPLE), "PER"),
            "place": (generator.choice(PLACES), "LOC"),
        }
        words = []
        for word in FRAMES[number % len(FRAMES)].split():
            name, kind = names.get(word.strip("{}"), (word, None))
            parts = name.split()
            tags = ["O"] if kind is None else [f"B-{kind}", *[f"I-{kind}"] * (len(parts) - 1)]
            words += zip(parts, tags, strict=True)
        made.append(words)
    return made


def conll(rows: list[list[tuple[str, str]]]) -> str:
    return "\n".join("".join(f"{word} {tag}\n" for word, tag in row) for row in rows)


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three .conll files."""
    folder = tmp_path_factory.mktemp("tagged")
    for seed, (split, count) in enumerate(SENTENCES.items()):
        (folder / f"{split}.conll").write_text(conll(sentences(count, seed)), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tag_recipe(recipe: Recipe, tagged: Path) -> Recipe:
    """The short recipe of texts, for entities; windows of 16 tokens, so that some sentences take two."""
    return replace(
        recipe,
        task="token-classification",
        data=DataConfig(path=str(tagged), max_length=16),
        search=replace(recipe.search, candidates=("tiny", "small")),
    )
