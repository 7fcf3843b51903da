from __future__ import annotations

import pytest
import torch
from fixtures_images import (
    LABELS,
    image_logits,
    random_pixels,
    tiny_compact_vit,
    tiny_deit,
    tiny_dinov2,
    tiny_vit,
)
from torch import nn
from transformers import AutoModelForImageClassification, Dinov2Config, ResNetConfig

from edgesmith.errors import UnsupportedError
from edgesmith.models import shape_of, to_compact_vit
from edgesmith.models.vision import vision_family_of

SIZE = (16, 12)


@pytest.mark.parametrize("make", [tiny_vit, tiny_deit, tiny_dinov2])
def test_it_computes_what_the_family_computes(make):
    model, batch = make(), random_pixels(6)
    wanted = image_logits(model, batch)
    assert wanted.std() > 0.1  # not all the same
    torch.testing.assert_close(image_logits(to_compact_vit(model), batch), wanted, atol=1e-5, rtol=0)


def test_a_family_without_biases_of_query_key_and_value():
    model, batch = tiny_vit(qkv_bias=False), random_pixels()
    torch.testing.assert_close(
        image_logits(to_compact_vit(model), batch), image_logits(model, batch), atol=1e-5, rtol=0
    )


def test_the_compact_form_of_a_compact_model_is_a_copy():
    model, batch = tiny_compact_vit(), random_pixels(size=SIZE)
    copy = to_compact_vit(model)
    assert copy is not model
    torch.testing.assert_close(image_logits(copy, batch), image_logits(model, batch), atol=0, rtol=0)


def test_patches_are_those_of_a_convolution():
    model = tiny_compact_vit()
    embeddings, pixels = model.embeddings, random_pixels(size=SIZE)["pixel_values"]
    weight = embeddings.patch.weight.view(-1, 3, 4, 2)
    convolved = nn.functional.conv2d(pixels, weight, embeddings.patch.bias, stride=(4, 2))  # (B, H, 4, 6)
    wanted = convolved.flatten(2).transpose(1, 2) + embeddings.position.weight
    with torch.no_grad():
        torch.testing.assert_close(embeddings(pixels)[:, 1:], wanted, atol=1e-5, rtol=0)


def test_pixels_that_fill_no_patch_are_left_out():
    model, batch = tiny_compact_vit(image_size=[17, 13]), random_pixels(size=(17, 13))
    cut = batch | {"pixel_values": batch["pixel_values"][:, :, :16, :12]}
    assert model.config.grid == (4, 6)
    torch.testing.assert_close(image_logits(model, cut), image_logits(model, batch), atol=0, rtol=0)


@pytest.mark.parametrize("pools_patches", [False, True])
def test_hidden_states_change_no_logits(pools_patches):
    model, batch = tiny_compact_vit(pools_patches=pools_patches), random_pixels(size=SIZE)
    with torch.no_grad():
        output = model(batch["pixel_values"], output_hidden_states=True)
    assert [tuple(state.shape) for state in output.hidden_states] == [(4, 25, 32)] * 4
    torch.testing.assert_close(output.logits, image_logits(model, batch), atol=1e-5, rtol=0)


def test_the_loss_is_the_cross_entropy():
    model, batch = tiny_compact_vit(), random_pixels(size=SIZE)
    output = model(batch["pixel_values"], labels=batch["labels"])
    torch.testing.assert_close(output.loss, nn.functional.cross_entropy(output.logits, batch["labels"]))


def test_it_opens_with_from_pretrained(tmp_path):
    model, batch = tiny_compact_vit(), random_pixels(size=SIZE)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(again) is type(model)
    torch.testing.assert_close(image_logits(again, batch), image_logits(model, batch), atol=0, rtol=0)


def test_the_shape_says_what_the_config_says():
    shape = shape_of(tiny_deit().config)
    assert (shape.patches, shape.positions, shape.patch_values) == (16, 18, 3 * 4 * 4)
    assert (shape.heads, shape.neurons, shape.labels, shape.pooled) == ((4, 4, 4), (48, 48, 48), LABELS, 1)
    assert shape_of(tiny_dinov2().config).pooled == 2
    assert shape_of(tiny_compact_vit().config).heads == (4, 1, 3)


def test_another_family_is_refused_with_the_known_ones():
    with pytest.raises(
        UnsupportedError, match=r"'resnet' is not supported for images. Known: deit, dinov2, vit"
    ):
        vision_family_of(ResNetConfig())
    with pytest.raises(UnsupportedError, match="use_swiglu_ffn is not supported"):
        vision_family_of(Dinov2Config(use_swiglu_ffn=True))
