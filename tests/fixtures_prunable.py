"""One small model of every family that can be pruned, in its prunable form, with a batch and what reads its logits."""

from __future__ import annotations

import pytest
import torch
from fixtures_images import random_pixels, tiny_deit, tiny_dinov2, tiny_vit
from fixtures_models import random_batch, tiny_bert, tiny_distilbert, tiny_mobilebert
from torch import Tensor
from transformers import PreTrainedModel

from edgesmith.data.encoding import model_inputs

ORIGINS = {
    "bert": tiny_bert,
    "distilbert": tiny_distilbert,
    "mobilebert": tiny_mobilebert,
    "mobilebert-tiny": lambda: tiny_mobilebert(
        use_bottleneck_attention=True, key_query_shared_bottleneck=False, num_feedforward_networks=2
    ),
    "vit": tiny_vit,
    "deit": tiny_deit,
    "dinov2": tiny_dinov2,
}
FAMILIES = pytest.mark.parametrize("family", ORIGINS)


def batch_of(family: str) -> dict[str, Tensor]:
    if family in ("vit", "deit", "dinov2"):
        return random_pixels()
    return random_batch(pairs=family == "bert")


@torch.no_grad()
def answers(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    return model(**model_inputs(batch)).logits
