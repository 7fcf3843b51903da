from __future__ import annotations

import pytest
import torch
from fixtures_models import HIDDEN, LABELS, POSITIONS, VOCAB, tiny_bert, tiny_compact, tiny_distilbert
from transformers import GPT2Config, MobileBertConfig, RobertaConfig

from edgesmith.errors import UnsupportedError
from edgesmith.models import FAMILIES, shape_of, to_compact
from edgesmith.models.families import check_is_known, compact_config, family_of, is_compact
from edgesmith.records import EncoderShape

SHAPES = {
    "bert": (tiny_bert, (4,) * 3, (48,) * 3, 8, HIDDEN, 2, 2),
    "distilbert": (tiny_distilbert, (2,) * 2, (64,) * 2, 16, HIDDEN, 0, 3),
    "compact": (tiny_compact, (4, 1, 3), (48, 16, 20), 8, 16, 2, 2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape_of(name):
    make, heads, neurons, head_dim, rank, types, labels = SHAPES[name]
    assert shape_of(make().config) == EncoderShape(
        vocab=VOCAB,
        hidden=HIDDEN,
        head_dim=head_dim,
        heads=heads,
        neurons=neurons,
        embedding_rank=rank,
        positions=POSITIONS,
        type_vocab=types,
        labels=labels,
    )


@pytest.mark.parametrize("name", SHAPES)
def test_the_compact_form_has_the_same_shape_labels_and_number_of_parameters(name):
    model = SHAPES[name][0]()
    compact = to_compact(model)
    assert shape_of(compact.config) == shape_of(model.config)
    assert compact.config.id2label == model.config.id2label
    assert compact.config.label2id == model.config.label2id
    assert compact.config.pad_token_id == model.config.pad_token_id
    assert sum(p.numel() for p in compact.parameters()) == sum(p.numel() for p in model.parameters())


def test_the_compact_form_has_weights_of_its_own():
    model = tiny_compact()
    copy = to_compact(model)
    assert copy is not model
    with torch.no_grad():
        copy.classifier.bias += 1
    assert not torch.equal(copy.classifier.bias, model.classifier.bias)


def test_activations_and_epsilon_are_those_of_the_family():
    bert = tiny_bert(hidden_act="relu", layer_norm_eps=1e-5).config
    config = compact_config(bert, shape_of(bert))
    assert (config.hidden_act, config.pooler_act, config.layer_norm_eps) == ("relu", "tanh", 1e-5)
    again = compact_config(config, shape_of(config))
    assert (again.hidden_act, again.pooler_act, again.layer_norm_eps) == ("relu", "tanh", 1e-5)
    distilbert = tiny_distilbert().config
    config = compact_config(distilbert, shape_of(distilbert))
    assert (config.hidden_act, config.pooler_act, config.layer_norm_eps) == ("gelu", "relu", 1e-12)


def test_compact_models_are_told_from_families():
    assert is_compact(tiny_compact().config)
    assert not is_compact(tiny_bert().config)


@pytest.mark.parametrize("config", [RobertaConfig(), GPT2Config()], ids=lambda config: config.model_type)
def test_an_unknown_family_names_the_known_ones(config):
    with pytest.raises(
        UnsupportedError, match=f"'{config.model_type}' is not supported. Known: bert, distilbert"
    ):
        family_of(config)
    with pytest.raises(UnsupportedError):
        shape_of(config)


def test_mobilebert_is_known_and_has_no_compact_form():
    check_is_known(MobileBertConfig())
    with pytest.raises(UnsupportedError, match=r"'mobilebert' has no compact form.*bert, distilbert"):
        family_of(MobileBertConfig())
    with pytest.raises(UnsupportedError, match="'roberta' is not supported"):
        check_is_known(RobertaConfig())


@pytest.mark.parametrize(("name", "make"), [("bert", tiny_bert), ("distilbert", tiny_distilbert)])
def test_a_family_names_every_weight_of_its_models(name, make):
    family, model = FAMILIES[name], make()
    layers = {
        f"{family.layer_prefix}.{index}.{module}"
        for index in range(shape_of(model.config).depth)
        for module in (*family.inside.values(), *family.qkv)
    }
    modules = {parameter.rpartition(".")[0] for parameter in model.state_dict()}
    assert layers | set(family.outside.values()) == modules


def test_labels_are_counted():
    assert shape_of(tiny_bert(id2label={0: "a", 1: "b", 2: "c"}).config).labels == 3
    assert shape_of(tiny_bert().config).labels == len(LABELS)
