"""The compact vision transformer: ViT mathematics with a shape of its own in every layer.

What is special here, against `transformers.ViTModel`:

* every layer has its own number of heads and FFN neurons;
* patches are cut out by a reshape and embedded by a linear layer, which quantizes like any other, not by a convolution;
* the tokens before the patches come with their positions added; layer scales are part of the output matrices;
* a head that reads the first token only lets the last layer compute that token only: same logits, less work.

A `CompactVit` of full size gives the same logits as the ViT, DeiT or DINOv2 it was made from
(`tests/models/test_compact_vit.py`).
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ImageClassifierOutput

from edgesmith.models.compact import CompactEncoder, CompactLayer


@strict
class CompactVitConfig(PreTrainedConfig):
    """Shape of a `CompactVitForImageClassification`; lists hold one entry a layer, or (height, width) in pixels.

    `prefix_tokens` come before the patches; `pools_patches` says that the head reads the mean of the patches beside
    the first token, as DINOv2's does.
    """

    model_type = "edgesmith_compact_vit"

    image_size: list[int] | None = None
    patch_size: list[int] | None = None
    num_channels: int = 3
    prefix_tokens: int = 1
    hidden_size: int = 192
    head_dim: int = 64
    heads_per_layer: list[int] | None = None
    ffn_per_layer: list[int] | None = None
    pools_patches: bool = False
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(heads, FFN neurons) of each layer."""
        return list(zip(self.heads_per_layer or [], self.ffn_per_layer or [], strict=True))

    @property
    def grid(self) -> tuple[int, int]:
        """Patches from top to bottom and from left to right."""
        (height, width), (down, right) = self.image_size or (0, 0), self.patch_size or (1, 1)
        return height // down, width // right


class CompactPatchEmbeddings(nn.Module):
    """Patches through one linear layer, plus positions, behind the prefix tokens."""

    def __init__(self, config: CompactVitConfig) -> None:
        super().__init__()
        self.grid, self.patch_size = config.grid, tuple(config.patch_size or ())
        rows, columns = self.grid
        values = config.num_channels * self.patch_size[0] * self.patch_size[1]
        self.patch = nn.Linear(values, config.hidden_size)
        self.position = nn.Embedding(rows * columns, config.hidden_size)
        self.prefix = nn.Parameter(torch.zeros(config.prefix_tokens, config.hidden_size))

    def forward(self, pixel_values: Tensor) -> Tensor:
        batch, channels = pixel_values.shape[:2]
        (rows, columns), (down, right) = self.grid, self.patch_size
        pixels = pixel_values[:, :, : rows * down, : columns * right]  # what fills no patch is left out
        patches = pixels.reshape(batch, channels, rows, down, columns, right).permute(0, 2, 4, 1, 3, 5)
        hidden = self.patch(patches.reshape(batch, rows * columns, -1)) + self.position.weight  # (B, N, H)
        return torch.cat([self.prefix.expand(batch, -1, -1), hidden], dim=1)  # (B, P + N, H)


class CompactVitLayer(CompactLayer):
    """Pre-norm transformer layer: x = x + attention(norm(x)); x = x + ffn(norm(x))."""

    def forward(self, hidden: Tensor, mask: Tensor | None, first_only: bool = False) -> Tensor:
        residual = hidden[:, :1] if first_only else hidden
        attended = self.attention(self.attention_norm(hidden), mask, first_only)
        hidden = residual + self.dropout(attended)
        output: Tensor = hidden + self.dropout(self.ffn(self.ffn_norm(hidden)))
        return output


class CompactVitForImageClassification(CompactEncoder):
    """Compact vision transformer with a linear head.

    Args:
        config: the shape; see `CompactVitConfig`.
    """

    config_class = CompactVitConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    _input_embed_layer = "patch"
    layer_kind = CompactVitLayer
    has_normed_states = False

    def __init__(self, config: CompactVitConfig) -> None:
        super().__init__(config)
        self.embeddings = CompactPatchEmbeddings(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        pooled = config.hidden_size * (1 + config.pools_patches)
        self.classifier = nn.Linear(pooled, len(config.id2label or ()))
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> ImageClassifierOutput:
        """Logits for a batch of images.

        Args:
            pixel_values: (B, C, H, W).
            labels: (B,) int64; adds the cross-entropy loss to the result.
            output_hidden_states: return embeddings and every layer's output; the last layer is then computed whole.
        """
        pools_patches = self.config.pools_patches
        states = self.encode(
            self.embeddings(pixel_values),
            None,
            is_first_enough=not (output_hidden_states or pools_patches),
        )
        pooled = self.norm(states[-1] if pools_patches else states[-1][:, 0])
        if pools_patches:
            patches = pooled[:, self.config.prefix_tokens :].mean(dim=1)
            pooled = torch.cat([pooled[:, 0], patches], dim=1)  # (B, 2 H)
        logits = self.classifier(pooled)  # (B, labels)
        loss = nn.functional.cross_entropy(logits.float(), labels) if labels is not None else None
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=tuple(states) if output_hidden_states else None
        )
