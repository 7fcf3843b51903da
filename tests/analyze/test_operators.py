"""Operators against torch's own counter, and against formulas by hand; MobileBERT's are counted in tests/models."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from edgesmith.analyze.operators import image_pixels, image_shape, linear, operators
from edgesmith.models import shape_of
from edgesmith.records import ZOO, EncoderShape

BERT = ZOO["bert-base"].shape
T, H, N, HEADS = 128, 768, 3072, 12


def macs(shape, tokens):
    return sum(operator.macs for operator in operators(shape, tokens))


def test_bert_base_by_hand():
    layer = 4 * T * H * H + 2 * T * T * H + 2 * T * H * N
    assert macs(BERT, T) == 12 * layer + H * H + H * 2


def test_vit_base_by_hand():
    shape = shape_of(ViTConfig(num_labels=1000))
    tokens = 14 * 14 + 1
    layer = 4 * tokens * H * H + 2 * tokens * tokens * H + 2 * tokens * H * N
    assert macs(shape, tokens) == 196 * (16 * 16 * 3) * H + 12 * layer + H * 1000


def test_bert_base_is_what_torch_counts():
    with torch.device("meta"):
        model = BertForSequenceClassification(BertConfig(attn_implementation="eager"))
        ids = torch.zeros(1, T, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            model(input_ids=ids)
    assert 2 * macs(BERT, T) == counter.get_total_flops()


def test_vit_base_is_what_torch_counts():
    config = ViTConfig(num_labels=1000, attn_implementation="eager")
    with torch.device("meta"):
        model = ViTForImageClassification(config)
        with FlopCounterMode(display=False) as counter:
            model(pixel_values=torch.zeros(1, 3, 224, 224))
    assert 2 * macs(shape_of(config), 197) == counter.get_total_flops()


def test_weights_are_stored_in_their_precision_and_vectors_in_fp32():
    one = linear("l", "p", rows=5, inner=8, outer=3)
    assert one.stored_bytes("fp32") == 4 * (8 * 3 + 3)
    assert one.stored_bytes("fp16") == 2 * 8 * 3 + 4 * 3
    assert one.stored_bytes("int8") == 8 * 3 + 5 * 3 + 4 * 3  # a scale and a zero point a channel
    assert one.stored_bytes("int4") == 8 * 3 / 2 + 5 * 3 + 4 * 3
    assert one.read_bytes("int8") == one.stored_bytes("int8")


def test_of_a_table_only_the_rows_of_the_text_are_read():
    words = operators(BERT, T)[0]
    assert words.stored_bytes("fp32") == 4 * 30522 * H
    assert words.read_bytes("fp32") == 4 * T * H
    assert words.macs == 0


def test_activations_of_one_layer_by_hand():
    layer = [one for one in operators(BERT, T) if one.part == "layer 3 attention"]
    sizes = {one.name: (one.read, one.written, one.held) for one in layer}
    stream, scores = T * H, HEADS * T * T
    assert sizes == {
        "query, key, value": (stream, 3 * stream, 0),
        "scores": (2 * stream, scores, 2 * stream),  # values wait, and what the residual adds
        "softmax": (scores, scores, 2 * stream),
        "weighted values": (scores + stream, stream, stream),
        "output": (stream, stream, stream),
        "residual and norm": (2 * stream, stream, 0),
    }


def test_an_image_of_other_patches_has_their_positions():
    shape = shape_of(ViTConfig())
    assert image_pixels(shape) == 224
    larger = image_shape(shape, 20)
    assert (larger.patches, larger.positions, image_pixels(larger)) == (400, 401, 320)
    assert image_shape(shape, 14) == shape


def test_less_of_anything_costs_less():
    assert isinstance(BERT, EncoderShape)
    whole = macs(BERT, T)
    assert macs(BERT, T - 1) < whole
    assert macs(replace(BERT, heads=(11, *BERT.heads[1:])), T) < whole
    assert macs(replace(BERT, neurons=(8, *BERT.neurons[1:])), T) < whole
