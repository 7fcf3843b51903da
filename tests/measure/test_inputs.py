from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures_bench import HEIGHT, MAX_LENGTH, WIDTH, WORDS, tokenizer_json, write
from fixtures_text import write_question_bundle
from tokenizers import Tokenizer

from edgesmith.errors import DataError, RecipeError, UnsupportedError
from edgesmith.measure.inputs import make_inputs, read_inputs
from edgesmith.recipe import DataConfig
from edgesmith.runtime.bundle import Bundle, open_bundle


def opened(folder: Path) -> Bundle:
    return open_bundle(folder)


@pytest.mark.parametrize("kind", ["text", "tags"])
@pytest.mark.parametrize("length", [3, 9, MAX_LENGTH])
def test_made_texts_have_the_length_asked_for(bundles: dict[str, Path], kind: str, length: int) -> None:
    inputs = make_inputs(opened(bundles[kind]), length, count=20, seed=0)
    tokenizer = Tokenizer.from_str(tokenizer_json())
    assert {len(tokenizer.encode(text).ids) for text, _ in inputs.rows} == {length}
    assert {word for text, _ in inputs.rows for word in text.split()} <= set(WORDS)
    assert (inputs.mean_tokens, len(inputs.rows)) == (length, 20)
    assert inputs.origin == "20 texts made of the bundle's own vocabulary"
    assert all(pair is None for _, pair in inputs.rows)


def test_the_default_length_is_no_more_than_the_bundle_takes(bundles: dict[str, Path]) -> None:
    assert make_inputs(opened(bundles["text"]), None, count=1, seed=0).mean_tokens == MAX_LENGTH


def test_inputs_depend_on_the_seed(bundles: dict[str, Path]) -> None:
    bundle = opened(bundles["text"])
    assert make_inputs(bundle, 9, 5, seed=1) == make_inputs(bundle, 9, 5, seed=1)
    assert make_inputs(bundle, 9, 5, seed=1).rows != make_inputs(bundle, 9, 5, seed=2).rows


def test_made_images_have_the_size_of_the_model(bundles: dict[str, Path]) -> None:
    inputs = make_inputs(opened(bundles["image"]), None, count=4, seed=0)
    assert [(image.shape, image.dtype) for image, _ in inputs.rows] == [((HEIGHT, WIDTH, 3), np.uint8)] * 4
    assert inputs.mean_tokens is None
    assert "images made of random pixels, 8 x 6" in inputs.origin


@pytest.mark.parametrize("length", [1, 2, MAX_LENGTH + 1])
def test_a_length_that_the_bundle_does_not_take_is_refused(bundles: dict[str, Path], length: int) -> None:
    with pytest.raises(RecipeError, match=f"length is {length}; .* takes 3 to 16 tokens"):
        make_inputs(opened(bundles["text"]), length, count=1, seed=0)


def test_an_image_has_no_length(bundles: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match=r"takes images\. Leave --length out"):
        make_inputs(opened(bundles["image"]), 9, count=1, seed=0)


def test_a_vocabulary_without_words_needs_data(tmp_path: Path) -> None:
    without = tokenizer_json()
    for place, word in enumerate(WORDS):
        without = without.replace(f'"{word}"', f'"#{place}"')
    files = {"model.onnx": b"", "tokenizer.json": without}
    with pytest.raises(DataError, match=r"\(0 whole words\). Give real ones with --data"):
        make_inputs(opened(write(tmp_path / "bundle", "text", files=files)), 9, count=1, seed=0)


@pytest.fixture
def rows(tmp_path: Path) -> DataConfig:
    texts = [" ".join(WORDS[: 1 + row % len(WORDS)]) for row in range(12)]
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"{text},{row % 2}\n" for row, text in enumerate(texts))
    )
    return DataConfig(path=str(tmp_path / "rows.csv"))


def test_rows_are_the_same_for_every_bundle(bundles: dict[str, Path], rows: DataConfig) -> None:
    first, second = read_inputs([opened(bundles["text"])] * 2, rows, count=5, seed=0)
    assert first == second
    assert first.origin == "5 of the 12 rows of rows.csv"
    assert first.mean_tokens == pytest.approx(
        np.mean([2 + len(text.split()) for text, _ in first.rows])
    )  # two special tokens
    assert len({text for text, _ in read_inputs([opened(bundles["text"])], rows, 99, seed=0)[0].rows}) == 6


def test_bundles_of_different_tasks_cannot_share_rows(bundles: dict[str, Path], rows: DataConfig) -> None:
    with pytest.raises(UnsupportedError, match=r"text-classification, .*token-classification.*leave --data"):
        read_inputs([opened(bundles["text"]), opened(bundles["tags"])], rows, count=5, seed=0)


def test_questions_are_read_and_not_made_up(tmp_path: Path) -> None:
    write_question_bundle(tmp_path / "questions")
    bundle = opened(tmp_path / "questions")
    with pytest.raises(DataError, match=r"answers questions, which are not made up\. Give some with --data"):
        make_inputs(bundle, None, count=2, seed=0)
    (tmp_path / "rows.jsonl").write_text('{"question": "Who?", "context": "Ada left.", "id": 1}\n')
    (inputs,) = read_inputs([bundle], DataConfig(path=str(tmp_path / "rows.jsonl")), 5, seed=0)
    assert inputs.rows == (("Who?", "Ada left."),)
