"""A BERT with a BPE or a Unigram tokenizer, trimmed as a run trims it, written, and opened again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures_models import HIDDEN, LABELS, tiny_bert
from fixtures_text import CHILD_ENVIRONMENT
from fixtures_tokenizers import byte_level_bpe, lines, unigram
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from edgesmith.data import Splits, TextExamples
from edgesmith.errors import RecipeError
from edgesmith.models import load_classifier, save_classifier
from edgesmith.pipeline.bench import embedding_rank
from edgesmith.pipeline.tasks import open_task
from edgesmith.pipeline.text import TextModality
from edgesmith.recipe import DataConfig, PruneConfig, Recipe
from edgesmith.records import Structure

NAMES = {"pad": "<pad>", "cls": "<s>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
TRAIN = lines()[:24]
"""Some of them are longer than the input."""
UNSEEN = (*lines()[24:48], "日本 was never here, nor an æther")

IN_A_NEW_PROCESS = """
import json, sys, torch
import edgesmith.models
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folders, texts = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = []
for folder in folders:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")
    found.append(model(batch["input_ids"], batch["attention_mask"]).logits.detach())
torch.save(found, sys.argv[3])
"""


def examples(texts: tuple[str, ...]) -> TextExamples:
    return TextExamples(texts, None, tuple(row % 2 for row in range(len(texts))))


def write_model(tokenizer: Tokenizer, folder: Path) -> Path:
    model = tiny_bert(vocab_size=tokenizer.get_vocab_size(), pad_token_id=tokenizer.token_to_id("<pad>"))
    tokens = {f"{role}_token": token for role, token in NAMES.items()}
    reader = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)
    save_classifier(model, reader, folder)
    return folder


def modality_of(folder: Path, prune: PruneConfig | None = None) -> TextModality:
    recipe = Recipe(model=str(folder), data=DataConfig(path="rows"), prune=prune or PruneConfig())
    splits = Splits(
        train=examples(TRAIN),
        validation=examples(UNSEEN[:12]),
        test=examples(UNSEEN[12:]),
        label_names=LABELS,
        columns={},
        notes=(),
        test_is_held_out=True,
        fingerprint="",
    )
    return TextModality(recipe, splits, load_classifier(str(folder)).tokenizer, 40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of models with a byte-level BPE and with a Unigram tokenizer."""
    place = tmp_path_factory.mktemp("models")
    return write_model(byte_level_bpe(), place / "bpe"), write_model(unigram(), place / "unigram")


def whole(reader: PreTrainedTokenizerFast) -> Tokenizer:
    """What reads texts of any length."""
    tokenizer = Tokenizer.from_str(reader.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    return tokenizer


@torch.no_grad()
def logits(model, rows) -> torch.Tensor:
    """(N, labels), in the order of the rows."""
    (batch,) = rows.batches(len(rows))  # by length
    found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return found[batch["row"].argsort()]


def test_a_trimmed_model_answers_training_texts_as_before_in_a_new_process_too(folders, tmp_path):
    wanted, written = [], []
    for folder in folders:
        modality, loaded = modality_of(folder), load_classifier(str(folder))
        student, reasons = modality.trim(modality.compact(loaded.model), Structure(depth=3, embedding_rank=8))
        whole, _ = modality.trim(modality.compact(loaded.model), Structure(depth=3))
        expected = logits(loaded.model, modality.train_rows)
        found = logits(whole, modality.student_lesson_rows)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert whole.config.vocab_size == modality.vocabulary_size < loaded.model.config.vocab_size
        assert reasons[0].startswith(
            f"vocabulary {loaded.model.config.vocab_size} -> {modality.vocabulary_size}"
        )
        for model, name in ((whole, "whole"), (student, "factorised")):
            modality.save(model, tmp_path / folder.name / name, trimmed=True)
            written.append(str(tmp_path / folder.name / name))
            wanted.append(logits(model, modality.student_lesson_rows))
    command = [sys.executable, "-c", IN_A_NEW_PROCESS, json.dumps(written), json.dumps(TRAIN)]
    subprocess.run([*command, str(tmp_path / "out.pt")], check=True, env=CHILD_ENVIRONMENT)
    for found, expected in zip(torch.load(tmp_path / "out.pt", weights_only=True), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("index", [0, 1])
def test_unseen_texts_are_covered_and_counted(folders, index):
    modality = modality_of(folders[index])
    answers = modality.splits.test.labels
    found = modality.coverage(answers, answers, answers)
    before, after = whole(modality.reader), whole(modality.student_reader)
    lengths = [
        sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in modality.splits.test.texts)
        for tokenizer in (before, after)
    ]
    assert (found.test.tokens, found.test.tokens_after) == tuple(lengths)
    assert 0 < found.test.rows_with_trimmed <= found.test.rows == len(answers)
    assert found.test.growth > 0
    assert {script.script for script in found.lost_scripts} >= {"Cyrillic"}
    words = modality.reader.convert_ids_to_tokens(modality._student.words)  # what gives way to near ones
    assert len(words) > 10
    assert all(word[0] in "Ġ▁" and word[1:].isalpha() for word in words)


def test_the_rank_that_a_recipe_asks_for_is_that_of_the_trimmed_table(folders):
    model = load_classifier(str(folders[0])).model
    tokens = modality_of(folders[0]).vocabulary_size
    for prune, expected in (
        (PruneConfig(), None),
        (PruneConfig(embedding_energy=0.5), 16),
        (PruneConfig(embedding_energy=0.999), HIDDEN),
        (PruneConfig(embedding_bytes=16 * (tokens + HIDDEN)), 16),
        (PruneConfig(embedding_bytes=32 * (tokens + HIDDEN)), 32),
    ):
        modality = modality_of(folders[0], prune)
        assert embedding_rank(modality, modality.compact(model)) == expected
    modality = modality_of(folders[0], PruneConfig(embedding_bytes=16 * (tokens + HIDDEN) - 1))
    with pytest.raises(
        RecipeError, match=rf"a word table of {tokens} tokens. Type: --set prune.embedding_bytes="
    ):
        embedding_rank(modality, modality.compact(model))


def test_a_size_is_kept_to_and_one_below_the_floor_is_refused_before_anything_else(folders, tmp_path):
    size = modality_of(folders[0]).vocabulary_size - 10
    modality = modality_of(folders[0], PruneConfig(vocabulary_size=size))
    assert size - 3 <= modality.vocabulary_size <= size
    assert modality.trim_facts()["vocabulary_coverage"] < 1
    assert not modality.trims_losslessly
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f'"text {row}",{row % 2}\n' for row in range(40)))
    recipe = Recipe(model=str(folders[0]), data=DataConfig(path=str(rows)))
    assert open_task(recipe).has_head
    with pytest.raises(RecipeError, match=r"prune.vocabulary_size is 100; allowed: 261 or more.*Type: --set"):
        open_task(replace(recipe, prune=PruneConfig(vocabulary_size=100)))
