from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fixtures_models import tiny_bert, tiny_compact, tiny_mobilebert
from fixtures_prunable import FAMILIES, ORIGINS, answers, batch_of
from transformers import AutoModelForSequenceClassification, GPT2Config, MobileBertConfig

from edgesmith.analyze.cost import parameters
from edgesmith.compress.structure import keep_at_sites, keep_hidden, keep_layers
from edgesmith.errors import UnsupportedError
from edgesmith.models import CompactMobileBertForSequenceClassification
from edgesmith.models.compact_mobilebert import bottleneck_shape
from edgesmith.models.coupling import (
    check_is_prunable,
    empty_prunable,
    hidden_axes,
    own_names,
    prunable_shape,
    sites,
    to_prunable,
    with_hidden,
    with_layers,
    with_units,
)
from edgesmith.models.plain import to_plain

TOLERANCE = {"rtol": 0, "atol": 1e-5}


@FAMILIES
def test_the_prunable_form_computes_what_the_model_does(family):
    origin, batch = ORIGINS[family](), batch_of(family)
    torch.testing.assert_close(answers(to_prunable(origin), batch), answers(origin, batch), **TOLERANCE)


@FAMILIES
def test_sites_are_linear_layers_with_the_sizes_they_say(family):
    model = to_prunable(ORIGINS[family]())
    for site in sites(model):
        assert model.get_submodule(site.reader).in_features == site.units * site.width
        rows = sum(model.get_submodule(maker).out_features for maker in site.makers)
        assert rows == site.units * site.width * (3 if site.kind == "heads" else 1)


@FAMILIES
def test_a_shape_counts_the_parameters_of_the_model_that_is_cut_to_it(family):
    model = to_prunable(ORIGINS[family]())
    whole, shape, places = count(model), prunable_shape(model.config), sites(model)
    assert parameters(shape) == whole
    kept = [torch.arange(site.units)[: max(1, site.units // 2)] for site in places]
    fewer = with_units(shape, places, [len(units) for units in kept])
    assert parameters(fewer) == count(keep_at_sites(model, kept)) < whole
    assert parameters(with_layers(shape, [1])) == count(keep_layers(model, [1])) < whole
    assert parameters(with_hidden(shape, 12)) == count(keep_hidden(model, range(12))) < whole


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@FAMILIES
def test_names_are_those_of_the_model_that_was_given(family):
    origin = ORIGINS[family]()
    model, known = to_prunable(origin), dict(origin.named_modules())
    for site in sites(model):
        names = [*(name for maker in site.makers for name in own_names(origin.config, maker))]
        assert len(names) == (3 if site.kind == "heads" else 1)
        assert {*names, *own_names(origin.config, site.reader)} <= known.keys()


@FAMILIES
def test_the_structure_needs_no_weights(family):
    origin = ORIGINS[family]()
    empty = empty_prunable(origin.config)
    assert next(empty.parameters()).device.type == "meta"
    assert sites(empty) == sites(to_prunable(origin))
    assert hidden_axes(empty) == hidden_axes(to_prunable(origin))


@FAMILIES
def test_fewer_layers_stay_a_plain_model(family, tmp_path):
    origin, batch = ORIGINS[family](), batch_of(family)
    fewer = keep_layers(to_prunable(origin), [1])
    plain = to_plain(fewer, origin)
    assert type(plain) is type(origin)
    assert plain.config.num_hidden_layers == 1 and origin.config.num_hidden_layers > 1
    plain.save_pretrained(tmp_path)
    again = type(origin).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(answers(again, batch), answers(fewer, batch), **TOLERANCE)


@FAMILIES
def test_layers_of_different_widths_do_not(family):
    origin = ORIGINS[family]()
    model = to_prunable(origin)
    kept = [torch.arange(site.units) for site in sites(model)]
    kept[1] = kept[1][:8]
    assert to_plain(keep_at_sites(model, kept), origin) is None


def test_ffns_that_are_narrower_alike_do():
    origin, batch = tiny_bert(), batch_of("bert")
    model = to_prunable(origin)
    kept = [torch.arange(site.units if site.kind == "heads" else 16) for site in sites(model)]
    fewer = keep_at_sites(model, kept)
    plain = to_plain(fewer, origin)
    assert plain.config.intermediate_size == 16
    torch.testing.assert_close(answers(plain, batch), answers(fewer, batch), **TOLERANCE)


def test_a_narrow_stream_stays_a_plain_mobilebert_and_no_plain_bert():
    mobile, bert = tiny_mobilebert(), tiny_bert()
    narrow, batch = keep_hidden(to_prunable(mobile), range(20)), batch_of("mobilebert")
    plain = to_plain(narrow, mobile)
    assert plain.config.hidden_size == 20
    torch.testing.assert_close(answers(plain, batch), answers(narrow, batch), **TOLERANCE)
    assert to_plain(keep_hidden(to_prunable(bert), range(20)), bert) is None
    compact = tiny_compact()
    assert to_plain(keep_layers(compact, [0, 1]), compact) is None  # it is its own family


def test_a_pruned_mobilebert_opens_with_the_auto_class_and_can_be_cut_further(tmp_path):
    model, batch = to_prunable(tiny_mobilebert()), batch_of("mobilebert")
    kept = [torch.arange(0, site.units, 2) for site in sites(model)]
    fewer = keep_at_sites(model, kept)
    fewer.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(again) is CompactMobileBertForSequenceClassification
    torch.testing.assert_close(answers(again, batch), answers(fewer, batch), **TOLERANCE)
    shape = bottleneck_shape(again.config)
    assert shape.layers == [(1, (12, 12, 12))] * 2
    assert sites(keep_at_sites(again, [torch.arange(1) for _ in kept]))[1].units == 1
    assert replace(shape, heads_left=None, neurons_left=None) == bottleneck_shape(tiny_mobilebert().config)


def test_an_unknown_family_is_refused_with_the_known_ones_and_the_way_to_add_one():
    with pytest.raises(
        UnsupportedError,
        match=r"'gpt2'.*bert, deit, dinov2, distilbert, mobilebert, vit.*one row of FAMILIES in",
    ):
        check_is_prunable(GPT2Config())
    with pytest.raises(UnsupportedError, match="without bottlenecks"):
        bottleneck_shape(MobileBertConfig(use_bottleneck=False))
