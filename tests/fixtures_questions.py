"""A small task of questions: seeded paragraphs in which a person, a place and a year stand among other sentences."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures_tags import PEOPLE, PLACES

from edgesmith.recipe import DataConfig, FinetuneConfig, Recipe, RecoveryConfig

FRAMES = (
    "In {when}, {who} left {where} for good.",
    "{who} wrote a letter from {where} in {when}.",
    "The doctor, {who}, came to {where} in the spring of {when}.",
)
OTHERS = (
    "Nobody saw the ship.",
    "The train was late, and so was the bus.",
    "It rained all day, as it had the day before.",
    "The letter was never found.",
)
ASKED = {"who": "Who is this about?", "where": "Where was this?", "when": "When was this?"}
PARAGRAPHS = {"train": 160, "dev": 40}


def paragraphs(count: int, seed: int) -> list[dict[str, Any]]:
    """Of SQuAD's form: a context with three questions each, no context twice."""
    generator = random.Random(seed)
    made: dict[str, dict[str, Any]] = {}
    while len(made) < count:
        parts = {
            "who": generator.choice(PEOPLE),
            "where": generator.choice(PLACES),
            "when": str(generator.randrange(1800, 1950)),
        }
        told = generator.choice(FRAMES).format(**parts)
        before, after = generator.sample(OTHERS, 2)
        context = f"{before} {told} {after}"
        qas = [
            {
                "id": f"{seed}-{len(made)}-{role}",
                "question": question,
                "answers": [{"text": parts[role], "answer_start": context.index(parts[role])}],
            }
            for role, question in ASKED.items()
        ]
        made[context] = {"context": context, "qas": qas}
    return list(made.values())


def squad(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"version": "1.1", "data": [{"title": "Letters", "paragraphs": list(rows)}]})


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of SQuAD's two files."""
    folder = tmp_path_factory.mktemp("asked")
    for seed, (split, count) in enumerate(PARAGRAPHS.items()):
        (folder / f"{split}.json").write_text(squad(paragraphs(count, seed)), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def question_recipe(recipe: Recipe, asked: Path) -> Recipe:
    """The short recipe of texts, for questions; windows of 28 tokens, so that most contexts take two."""
    return replace(
        recipe,
        task="question-answering",
        data=DataConfig(path=str(asked), max_length=28),
        search=replace(recipe.search, candidates=("tiny", "small")),
        finetune=FinetuneConfig(epochs=10.0, learning_rate=2e-3, evaluations=2),
        prune=replace(
            recipe.prune,
            recovery=RecoveryConfig(epochs=5.0, learning_rate=1e-3, evaluations=2, augmented_rows=0.3),
        ),
    )
