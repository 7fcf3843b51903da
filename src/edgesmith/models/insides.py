"""What a compact encoder computes on its way to the logits, for those that want to compare it.

Hooks watch the encoder while it runs, and go again: its forward, and so what is exported, knows nothing of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgesmith.models.compact import CompactAttention, CompactEncoder


@dataclass(frozen=True)
class Projected:
    """Queries, keys and values of one layer, (B, S, width) each; width is heads times head size."""

    query: Tensor
    key: Tensor
    value: Tensor
    attention: CompactAttention

    @property
    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.query, self.key, self.value

    def scores(self) -> Tensor:
        """Attention scores before mask and softmax, of every token, (B, heads, S, S) in FP32."""
        query, key = (self.attention.split_heads(part.float()) for part in (self.query, self.key))
        with torch.autocast(query.device.type, enabled=False):
            return query @ key.transpose(-1, -2) / math.sqrt(self.attention.head_dim)


@contextmanager
def watched(model: CompactEncoder, layers: Iterable[int]) -> Iterator[dict[int, Projected]]:
    """Notes what some layers project, each time the model runs inside the context.

    The last layer projects every token, even where it goes on with the first alone.

    Args:
        layers: indices from 0.

    Returns:
        Layer -> what it projected in the latest run; empty before the first.

    Example:
        >>> with watched(model, [5]) as seen:
        ...     logits = model(**inputs).logits
        >>> seen[5].scores()  # (B, heads, S, S)
    """
    seen: dict[int, Projected] = {}

    def note(index: int, attention: CompactAttention) -> Any:
        def hook(_module: nn.Module, _inputs: Any, qkv: Tensor) -> None:
            query, key, value = qkv.chunk(3, dim=-1)
            seen[index] = Projected(query, key, value, attention)

        return attention.qkv.register_forward_hook(hook)

    hooks = [note(index, model.layers[index].attention) for index in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
