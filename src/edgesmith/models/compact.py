"""The compact encoder: BERT mathematics with a shape of its own in every layer.

What is special here, against `transformers.BertModel`:

* every layer has its own number of heads and FFN neurons;
* the word embedding may be a product ``E = A B`` of rank ``embedding_size`` (arXiv:1909.11942, section 3.1);
* query, key and value are one matrix, so that a runtime quantizes their common input once;
* a sequence head reads one token only, so the last layer computes that token only: same logits, less work.

A `CompactBert` of full size gives the same logits as the BERT or DistilBERT it was made from
(`tests/models/test_compact.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput

MASK_VALUE = -1.0e4
"""Added to the scores of padded keys. Finite on purpose: -3.4e38 poisons static INT8 ranges; exp(-1e4) is 0 in FP32."""


@strict
class CompactBertConfig(PreTrainedConfig):
    """Shape of a `CompactBert`; lists hold one entry a layer.

    Dropout is off by default: compact encoders are distilled, soft labels regularise enough, and drawing the random
    numbers takes 15 % of a training step on a CPU.
    """

    model_type = "edgesmith_compact_bert"

    vocab_size: int = 30522
    embedding_size: int = 384
    hidden_size: int = 384
    head_dim: int = 32
    heads_per_layer: list[int] | None = None
    ffn_per_layer: list[int] | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 0
    hidden_act: str = "gelu"
    pooler_act: str = "tanh"
    layer_norm_eps: float = 1e-12
    hidden_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02
    pad_token_id: int | None = 0

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(heads, FFN neurons) of each layer."""
        return list(zip(self.heads_per_layer or [], self.ffn_per_layer or [], strict=True))

    @property
    def is_factorised(self) -> bool:
        return self.embedding_size != self.hidden_size


class CompactEmbeddings(nn.Module):
    """Word + position (+ token type) embeddings, summed and normalised."""

    def __init__(self, config: CompactBertConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.projection = (
            nn.Linear(config.embedding_size, config.hidden_size, bias=False) if config.is_factorised else None
        )
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = (
            nn.Embedding(config.type_vocab_size, config.hidden_size) if config.type_vocab_size else None
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor | None, position_ids: Tensor | None = None
    ) -> Tensor:
        hidden: Tensor = self.word(input_ids)  # (B, S, E)
        if self.projection is not None:
            hidden = self.projection(hidden)  # (B, S, H)
        hidden = hidden + (
            self.position.weight[: input_ids.shape[1]]
            if position_ids is None
            else self.position(position_ids)
        )
        if self.token_type is not None:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            hidden = hidden + self.token_type(types)
        normed: Tensor = self.dropout(self.norm(hidden))
        return normed


class CompactAttention(nn.Module):
    """Multi-head self-attention over `heads` heads of `head_dim`, with one QKV projection."""

    def __init__(self, config: Any, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, config.head_dim
        self.width = heads * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, 3 * self.width)
        self.output = nn.Linear(self.width, config.hidden_size)

    def split_heads(self, states: Tensor) -> Tensor:
        """(B, S, width) -> (B, heads, S, head_dim)"""
        return states.view(states.shape[0], -1, self.heads, self.head_dim).transpose(1, 2)

    def forward(self, hidden: Tensor, mask: Tensor | None, first_only: bool) -> Tensor:
        query, key, value = self.qkv(hidden).split(self.width, dim=-1)  # 3 x (B, S, width)
        if first_only:
            query = query[:, :1]
        query, key, value = self.split_heads(query), self.split_heads(key), self.split_heads(value)
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.head_dim)  # (B, heads, Q, S)
        if mask is not None:
            scores = scores + mask
        context = scores.softmax(dim=-1) @ value  # (B, heads, Q, head_dim)
        joined = context.transpose(1, 2).reshape(hidden.shape[0], -1, self.width)  # (B, Q, width)
        output: Tensor = self.output(joined)
        return output


class CompactFFN(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: Any, neurons: int) -> None:
        super().__init__()
        self.intermediate = nn.Linear(config.hidden_size, neurons)
        self.activation = ACT2FN[config.hidden_act]
        self.output = nn.Linear(neurons, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        neurons = self.activation(self.intermediate(hidden))  # (B, S, neurons)
        output: Tensor = self.output(neurons)
        return output


class CompactLayer(nn.Module):
    """Post-norm transformer layer: x = norm(x + attention(x)); x = norm(x + ffn(x))."""

    def __init__(self, config: Any, heads: int, neurons: int) -> None:
        super().__init__()
        self.attention = CompactAttention(config, heads)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.ffn = CompactFFN(config, neurons)
        self.ffn_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor | None, first_only: bool = False) -> Tensor:
        residual = hidden[:, :1] if first_only else hidden
        hidden = self.attention_norm(residual + self.dropout(self.attention(hidden, mask, first_only)))
        output: Tensor = self.ffn_norm(hidden + self.dropout(self.ffn(hidden)))
        return output


class CompactEncoder(PreTrainedModel):
    """A compact classifier of texts or images: what both have is its stack of layers.

    Attributes:
        layers: of `layer_kind`, one for each of ``config.layers``.
        has_normed_states: whether every layer ends with a norm, so that hidden states have one scale.
    """

    layer_kind: type[CompactLayer] = CompactLayer
    has_normed_states = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers = nn.ModuleList(self.layer_kind(config, heads, neurons) for heads, neurons in config.layers)
        self.layers = cast("Sequence[CompactLayer]", layers)  # ModuleList does not say what it holds

    def encode(self, hidden: Tensor, mask: Tensor | None, *, is_first_enough: bool) -> list[Tensor]:
        """The hidden states before the layers and after each, (B, S, H).

        Args:
            hidden: (B, S, H).
            mask: (B, 1, 1, S), added to the attention scores.
            is_first_enough: the last layer computes the first token only.
        """
        states = [hidden]
        for index, layer in enumerate(self.layers):
            is_last = index == len(self.layers) - 1
            hidden = layer(hidden, mask, first_only=is_first_enough and is_last)
            states.append(hidden)
        return states


def label_loss(logits: Tensor, labels: Tensor, *, reduction: str = "mean") -> Tensor:
    """Cross-entropy with (B,) int64 classes; for a single output, (B, 1), its squared error against (B,) scores."""
    if logits.shape[-1] == 1:
        return nn.functional.mse_loss(logits[:, 0].float(), labels.float(), reduction=reduction)
    return nn.functional.cross_entropy(logits.float(), labels, reduction=reduction)


class CompactBert(CompactEncoder):
    """Compact encoder of texts; what is read off its states is a head's.

    Args:
        config: the shape; see `CompactBertConfig`.
    """

    config_class = CompactBertConfig
    base_model_prefix = "encoder"
    _input_embed_layer = "word"

    def __init__(self, config: CompactBertConfig) -> None:
        super().__init__(config)
        self.embeddings = CompactEmbeddings(config)

    def encode_tokens(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        *,
        is_first_enough: bool,
    ) -> list[Tensor]:
        """The hidden states before the layers and after each, (B, S, H); see `forward` of a model with a head."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        hidden = self.embeddings(input_ids, token_type_ids, position_ids)  # (B, S, H)
        mask = ((1.0 - attention_mask.to(hidden.dtype)) * MASK_VALUE)[:, None, None, :]  # (B, 1, 1, S)
        return self.encode(hidden, mask, is_first_enough=is_first_enough)


class CompactBertForSequenceClassification(CompactBert):
    """Compact encoder with a BERT (tanh) or DistilBERT (relu) sequence head.

    Args:
        config: the shape; see `CompactBertConfig`.
    """

    def __init__(self, config: CompactBertConfig) -> None:
        super().__init__(config)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.pooler_activation = ACT2FN[config.pooler_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, len(config.id2label or ()))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Logits for a batch of token ids.

        Args:
            input_ids: (B, S) int64.
            attention_mask: (B, S), 1 for real tokens; all ones if left out.
            token_type_ids: (B, S) int64; only read if the model kept token types.
            position_ids: (B, S), rows of the position table; 0 to S - 1 if left out.
            labels: (B,) classes or scores; adds `label_loss` to the result.
            output_hidden_states: return embeddings and every layer's output; the last layer is then computed whole.
        """
        states = self.encode_tokens(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            is_first_enough=not output_hidden_states,
        )
        pooled = self.pooler_activation(self.pooler(states[-1][:, 0]))  # (B, H)
        logits = self.classifier(self.dropout(pooled))  # (B, labels)
        loss = label_loss(logits, labels) if labels is not None else None
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=tuple(states) if output_hidden_states else None
        )


class CompactBertForTokenClassification(CompactBert):
    """Compact encoder with a linear head on every token, that of BERT and DistilBERT alike.

    Args:
        config: the shape; see `CompactBertConfig`.
    """

    def __init__(self, config: CompactBertConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, len(config.id2label or ()))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Logits of every token, for a batch of token ids.

        Args:
            labels: (B, S) classes, -100 for tokens that do not count; adds their mean cross-entropy to the result.
            input_ids, attention_mask, token_type_ids, position_ids, output_hidden_states: as in
                `CompactBertForSequenceClassification`.
        """
        states = self.encode_tokens(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            is_first_enough=False,
        )
        logits = self.classifier(self.dropout(states[-1]))  # (B, S, labels)
        loss = label_loss(logits.flatten(0, 1), labels.flatten()) if labels is not None else None
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=tuple(states) if output_hidden_states else None
        )
