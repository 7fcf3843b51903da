from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fixtures_models import LABELS, SENTENCES, logits_of, minilm, tiny_bert, tiny_mobilebert
from fixtures_text import CHILD_ENVIRONMENT, minilm_folder
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertForTokenClassification, GPT2Config, RobertaConfig

from edgesmith.errors import ModelError, UnsupportedError
from edgesmith.models import load_classifier, load_tokenizer, save_classifier, to_compact
from edgesmith.models.compact import CompactBertForSequenceClassification


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Folder of a small BERT with a trained head and the labels negative, positive; not to be changed."""
    folder = tmp_path_factory.mktemp("bert")
    save_classifier(tiny_bert(vocab_size=30522), load_tokenizer(str(minilm_folder())), folder)
    return folder


@pytest.fixture
def own(saved, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_saved_is_loaded(saved):
    loaded = load_classifier(str(saved), LABELS)
    assert loaded.has_head
    assert not loaded.model.training
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    batch = dict(loaded.tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    expected = logits_of(tiny_bert(vocab_size=30522), batch)  # with another attention kernel
    torch.testing.assert_close(logits_of(loaded.model, batch), expected)


def test_half_precision_weights_are_loaded_as_fp32(own):
    weights = load_file(own / "model.safetensors")
    save_file(
        {name: value.half() for name, value in weights.items()}, own / "model.safetensors", {"format": "pt"}
    )
    edit_config(own, dtype="float16")
    assert {parameter.dtype for parameter in load_classifier(str(own)).model.parameters()} == {torch.float32}


def test_a_model_without_a_head_gets_one_for_the_data():
    loaded = minilm()
    assert not loaded.has_head
    assert loaded.model.config.id2label == {0: "negative", 1: "positive"}
    assert loaded.model.config.label2id == {"negative": 0, "positive": 1}


def test_the_head_of_another_task_is_not_taken_for_one(own):
    edit_config(own, architectures=["BertForMaskedLM"])
    weights = load_file(own / "model.safetensors")
    body = {
        name: value for name, value in weights.items() if "classifier" not in name and "pooler" not in name
    }
    save_file(body, own / "model.safetensors", {"format": "pt"})
    loaded = load_classifier(str(own), ("a", "b", "c"))
    assert not loaded.has_head
    assert loaded.model.classifier.out_features == 3


@pytest.mark.parametrize("labels", [LABELS, ("a", "b", "c")])
def test_the_classifier_of_single_tokens_is_not_one_of_sequences(tmp_path, labels):
    body = tiny_bert(vocab_size=30522)
    model = BertForTokenClassification(body.config)
    model.save_pretrained(tmp_path)
    load_tokenizer(str(minilm_folder())).save_pretrained(tmp_path)
    loaded = load_classifier(str(tmp_path), labels)
    assert not loaded.has_head
    assert loaded.model.classifier.out_features == len(labels)


def test_a_checkpoint_that_does_not_say_what_it_is_has_the_head_that_it_holds(own):
    edit_config(own, architectures=None)
    assert load_classifier(str(own), LABELS).has_head


def test_padding_and_truncation_of_the_tokenizer_are_off():
    tokenizer = load_tokenizer(str(minilm_folder()))
    assert len(tokenizer("one")["input_ids"]) == 3  # as its file says, it pads to 128
    assert len(tokenizer("one " * 200)["input_ids"]) == 202


IN_A_NEW_PROCESS = """
import json, sys, torch
import edgesmith.models
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
folder, sentences = sys.argv[1], json.loads(sys.argv[2])
assert AutoConfig.from_pretrained(folder).model_type == "edgesmith_compact_bert"
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
batch = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
torch.save({"logits": model(**batch).logits.detach(), "type": type(model).__name__}, sys.argv[3])
"""


def test_a_compact_model_opens_with_auto_classes_in_a_new_process(tmp_path):
    loaded = minilm()
    compact = to_compact(loaded.model)
    save_classifier(compact, loaded.tokenizer, tmp_path / "model")
    command = [sys.executable, "-c", IN_A_NEW_PROCESS, str(tmp_path / "model"), json.dumps(SENTENCES)]
    subprocess.run([*command, str(tmp_path / "out.pt")], check=True, env=CHILD_ENVIRONMENT)
    out = torch.load(tmp_path / "out.pt", weights_only=True)
    assert out["type"] == CompactBertForSequenceClassification.__name__
    batch = dict(loaded.tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    assert torch.equal(out["logits"], logits_of(compact, batch))
    again = load_classifier(str(tmp_path / "model"), LABELS)
    assert again.has_head
    assert torch.equal(logits_of(again.model, batch), out["logits"])


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(
        ModelError, match=r"nowhere: no such model folder. Give a folder with config.json, or a hub id"
    ):
        load_classifier(str(tmp_path / "nowhere"))


def test_a_folder_without_a_config(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ModelError, match="this folder could not be loaded"):
        load_classifier(str(tmp_path))


def test_a_config_that_is_not_json(own):
    (own / "config.json").write_text("{")
    with pytest.raises(ModelError, match="this folder could not be loaded"):
        load_classifier(str(own))


def test_a_hub_id_without_a_network():
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises(
        ModelError, match=r"somebody/nothing: this hub id \(no folder of that name is here\) could not"
    ):
        load_classifier("somebody/nothing")


def test_mobilebert_is_loaded_as_it_is(tmp_path):
    model = tiny_mobilebert(vocab_size=30522)
    save_classifier(model, load_tokenizer(str(minilm_folder())), tmp_path)
    loaded = load_classifier(str(tmp_path), LABELS)
    assert loaded.has_head
    batch = dict(loaded.tokenizer(list(SENTENCES), padding=True, return_tensors="pt"))
    torch.testing.assert_close(logits_of(loaded.model, batch), logits_of(model, batch))


@pytest.mark.parametrize("config", [RobertaConfig(), GPT2Config()], ids=lambda config: config.model_type)
def test_an_unknown_family(config, tmp_path):
    config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedError, match=f"'{config.model_type}' is not supported"):
        load_classifier(str(tmp_path))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(own, value):
    weights = load_file(own / "model.safetensors")
    weights["bert.encoder.layer.1.output.dense.bias"][3] = value
    save_file(weights, own / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"the weight bert.encoder.layer.1.output.dense.bias holds NaN or infinity"
    ):
        load_classifier(str(own))


def test_pickled_weights_are_not_opened(own):
    torch.save(load_file(own / "model.safetensors"), own / "pytorch_model.bin")
    (own / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_classifier(str(own))


@pytest.mark.parametrize("kept", [0, 5, 10_000])
def test_truncated_weights(own, kept):
    path = own / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="this folder could not be loaded"):
        load_classifier(str(own))


def test_weights_that_lack_a_part_of_the_model(own):
    weights = load_file(own / "model.safetensors")
    del weights["bert.encoder.layer.2.intermediate.dense.weight"]
    save_file(weights, own / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"lacks weights .*: bert.encoder.layer.2.intermediate.dense.weight\."
    ):
        load_classifier(str(own))


def test_weights_of_another_size_than_the_config_says(own):
    edit_config(own, intermediate_size=64)
    with pytest.raises(
        ModelError, match=r"lacks weights of the size .*: bert.encoder.layer.0.intermediate.dense.bias"
    ):
        load_classifier(str(own))


def test_a_classifier_without_its_head_weights(own):
    weights = load_file(own / "model.safetensors")
    del weights["bert.pooler.dense.bias"]
    save_file(weights, own / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights .*: bert.pooler.dense.bias\."):
        load_classifier(str(own))


def test_no_tokenizer(own):
    for path in own.glob("*token*"):
        path.unlink()
    with pytest.raises(
        ModelError, match=r"has no tokenizer.json that could be read.*Type: python -c \"(.*)\"$"
    ) as raised:
        load_classifier(str(own))
    line = str(raised.value).rpartition('python -c "')[2].removesuffix('"')
    exec(line.replace("ORIGIN", str(minilm_folder())))  # what it says to type
    assert load_classifier(str(own)).has_head


def test_the_words_alone_are_files_to_make_a_tokenizer_from(own):
    ids = load_tokenizer(str(own))(list(SENTENCES))["input_ids"]
    for path in own.glob("*token*"):
        path.unlink()
    shutil.copy(minilm_folder() / "vocab.txt", own)
    assert load_tokenizer(str(own))(list(SENTENCES))["input_ids"] == ids


def test_a_trained_head_with_another_number_of_labels(saved):
    with pytest.raises(
        ModelError, match=r"head of 2 labels \(negative, positive\); the data has 3 \(a, b, c\)"
    ):
        load_classifier(str(saved), ("a", "b", "c"))


@pytest.mark.parametrize("labels", [("positive", "negative"), ("Positive", "NEGATIVE")])
def test_labels_in_another_order_are_not_mixed_up(saved, labels):
    with pytest.raises(
        ModelError, match=r"in the order negative, positive; the data's .* class indices \(0 to 1\)"
    ):
        load_classifier(str(saved), labels)


@pytest.mark.parametrize(
    "labels", [("negative", "positive"), ("Negative", "POSITIVE"), ("0", "1"), ("bad", "good")]
)
def test_other_names_for_the_same_classes_are_taken(saved, labels):
    assert load_classifier(str(saved), labels).model.config.id2label == dict(enumerate(labels))


def test_generic_names_of_a_head_say_nothing_about_its_order(own):
    edit_config(own, id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id={"LABEL_0": 0, "LABEL_1": 1})
    config = load_classifier(str(own), ("positive", "negative")).model.config
    assert config.label2id == {"positive": 0, "negative": 1}


def test_without_labels_the_models_own_stay(saved):
    assert load_classifier(str(saved)).model.config.id2label == dict(enumerate(LABELS))


def test_a_model_body_alone_is_no_classifier(own):
    model = AutoModel.from_pretrained(own)
    model.save_pretrained(own)
    assert not load_classifier(str(own), LABELS).has_head
