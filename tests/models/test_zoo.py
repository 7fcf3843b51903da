"""The zoo's shapes against the papers, against a formula written out by hand, and against torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fixtures_models import LABELS, SENTENCES, logits_of, random_batch
from fixtures_text import minilm_folder
from torch.utils.flop_counter import FlopCounterMode

from edgesmith.analyze.cost import count, macs, parameters
from edgesmith.errors import ModelError
from edgesmith.models import build_zoo_model, load_zoo_classifier, shape_of, to_compact, zoo_config
from edgesmith.models.zoo import build_vision_model
from edgesmith.records import VISION_ZOO, ZOO, BottleneckShape, ZooModel, known_shape


def small(model: ZooModel, depth: int = 1, vocab: int = 97) -> ZooModel:
    """The same architecture with fewer layers and tokens."""
    shape = model.shape
    if isinstance(shape, BottleneckShape):
        return replace(model, shape=replace(shape, depth=depth, vocab=vocab))
    layers = {"heads": shape.heads[:depth], "neurons": shape.neurons[:depth]}
    return replace(model, shape=replace(shape, vocab=vocab, **layers))


def numel(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(model: ZooModel) -> torch.nn.Module:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return build_zoo_model(model)


def bert(depth: int, hidden: int, neurons: int) -> int:
    """Tables and norm; attention, FFN and two norms a layer; the pooler."""
    layer = 4 * (hidden * hidden + hidden) + 2 * hidden * neurons + neurons + hidden + 4 * hidden
    return (30522 + 512 + 2 + 2) * hidden + depth * layer + hidden * hidden + hidden


def mobilebert(ffns: int, *, shared_bottleneck: bool) -> int:
    """MobileBERT's table 1: 512 between layers and 128 within; every linear with its bias, every norm with both."""
    norm, narrow = 2 * 128, 512 * 128 + 128
    embeddings = 30522 * 128 + (3 * 128 * 512 + 512) + (512 + 2) * 512 + 2 * 512
    bottlenecks = (narrow + norm) * (2 if shared_bottleneck else 1) + (128 * 512 + 512 + 2 * 512)
    value = narrow if shared_bottleneck else 128 * 128 + 128
    attention = 3 * (128 * 128 + 128) + value + norm
    ffn = 128 * 512 + 512 + 512 * 128 + 128 + norm
    return embeddings + 24 * (bottlenecks + attention + ffns * ffn)


HEADLESS = {
    "bert-base": bert(12, 768, 3072),
    "distilbert": bert(6, 768, 3072) - 2 * 768 - (768 * 768 + 768),  # no token types and no pooler
    "tinybert-4": bert(4, 312, 1200),
    "tinybert-6": bert(6, 768, 3072),
    "mobilebert": mobilebert(4, shared_bottleneck=True),
    "mobilebert-tiny": mobilebert(2, shared_bottleneck=False),
}

EXPECTED_M = {
    "bert-base": (109.45, 109.55),
    "distilbert": (66.35, 66.45),
    "tinybert-4": (14.345, 14.355),
    "tinybert-6": (66.955, 66.965),
    "mobilebert": (24.55, 25.3),
    "mobilebert-tiny": (15.1, 15.8),
}
"""What the papers and their checkpoints say of the encoder, in millions, within rounding; a range where they differ."""


@pytest.mark.parametrize("name", ZOO)
def test_the_encoder_has_the_parameters_of_the_paper(name):
    encoder = numel(on_meta(ZOO[name]).base_model)
    assert encoder == HEADLESS[name]
    low, high = EXPECTED_M[name]
    assert low <= encoder / 1e6 <= high


@pytest.mark.parametrize("name", ZOO)
def test_the_count_without_torch_is_that_of_torch(name):
    assert parameters(ZOO[name].shape) == numel(on_meta(ZOO[name]))


@pytest.mark.parametrize("name", ZOO)
def test_the_survey_rounds_the_same_numbers(name):
    """The survey is within 3 % of what the architecture counts, so that the two speak of one model."""
    assert numel(on_meta(ZOO[name]).base_model) / 1e6 == pytest.approx(
        ZOO[name].published.parameters_m, rel=0.03
    )


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("tokens", [2, 7])
def test_macs_are_those_that_torch_counts(name, tokens):
    model = small(ZOO[name], depth=2)
    batch = random_batch((tokens,), pairs=False)
    built = build_zoo_model(model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        built(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    assert 2 * macs(model.shape, tokens) == counter.get_total_flops()


def test_the_parts_of_a_bottleneck_layer():
    parts = {part.name: part for part in count(ZOO["mobilebert"].shape, 10)}
    assert [name for name in parts if name.startswith("layer 23")] == [
        "layer 23 bottlenecks",
        "layer 23 attention",
        "layer 23 FFN",
    ]
    assert parts["layer 0 FFN"].macs == 10 * 4 * 2 * 128 * 512
    assert parts["layer 0 bottlenecks"].channels == 128 + 128 + 512


@pytest.mark.parametrize("name", ZOO)
def test_a_model_answers_and_follows_its_seed(name):
    model, batch = small(ZOO[name]), random_batch((9, 5), pairs=False)
    logits = logits_of(build_zoo_model(model, labels=("a", "b", "c"), seed=3), batch)
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    assert torch.equal(logits, logits_of(build_zoo_model(model, labels=("a", "b", "c"), seed=3), batch))
    assert not torch.equal(logits, logits_of(build_zoo_model(model, labels=("a", "b", "c"), seed=4), batch))


@pytest.mark.parametrize("name", ["bert-base", "distilbert", "tinybert-4", "tinybert-6"])
def test_all_but_mobilebert_have_a_compact_form(name):
    model, batch = build_zoo_model(small(ZOO[name])), random_batch((9, 5), pairs=False)
    torch.testing.assert_close(logits_of(to_compact(model), batch), logits_of(model, batch))


@pytest.mark.parametrize("name", ["mobilebert", "mobilebert-tiny"])
def test_mobilebert_is_as_its_authors_configured_it(name):
    config = zoo_config(ZOO[name])
    assert config.trigram_input and config.use_bottleneck
    assert (config.normalization_type, config.hidden_act, config.classifier_activation) == (
        "no_norm",
        "relu",
        False,
    )
    is_tiny = name == "mobilebert-tiny"
    assert config.use_bottleneck_attention is is_tiny
    assert config.num_feedforward_networks == (2 if is_tiny else 4)


def test_with_a_tokenizer_it_is_something_to_train():
    loaded = load_zoo_classifier(small(ZOO["tinybert-4"], vocab=30522), str(minilm_folder()), LABELS, seed=0)
    assert not loaded.has_head
    assert tuple(loaded.model.config.id2label.values()) == LABELS
    batch = loaded.tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    assert logits_of(loaded.model, batch).shape == (len(SENTENCES), 2)


def test_a_tokenizer_with_too_many_tokens_is_refused():
    with pytest.raises(
        ModelError, match=r"has 30,522 tokens; tinybert-4 has rows for 97. Give the tokenizer"
    ):
        load_zoo_classifier(small(ZOO["tinybert-4"]), str(minilm_folder()), LABELS, seed=0)


@pytest.mark.parametrize(
    ("name", "millions"),
    [("deit-tiny", 5.7), ("deit-small", 22.05), ("dinov2-small", 22.4), ("deit-base", 86.6)],
)
def test_a_vision_transformer_has_its_shape_and_the_parameters_of_its_paper(name, millions):
    """DINOv2 beside its published 21 M: a head of 0.77 M, which reads twice the width."""
    with torch.device("meta"):
        model = build_vision_model(VISION_ZOO[name])
    assert shape_of(model.config) == VISION_ZOO[name].shape
    assert parameters(VISION_ZOO[name].shape) / 1e6 == pytest.approx(millions, rel=0.01)


def test_a_folder_goes_before_a_name(tmp_path, monkeypatch):
    assert known_shape("deit-tiny") == VISION_ZOO["deit-tiny"].shape
    assert known_shape("bert-base") == ZOO["bert-base"].shape
    assert known_shape("bert") is None
    (tmp_path / "deit-tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert known_shape("deit-tiny") is None
