"""What a transformer is made of, and the smaller versions of it that are considered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """Sizes of an encoder with a sequence head, enough to count its parameters, bytes and MACs.

    Attributes:
        heads, neurons: one entry a layer.
        embedding_rank: columns of the word table; equal to `hidden` where it is not factorised.
        type_vocab: rows of the token-type table; 0 where there is none.
        patches: of an image, each a token; 0 for an encoder of texts, which has a `vocab`.
        patch_values: of one patch, channels times pixels.
        pooled: hidden states that the head of an encoder of images reads side by side.
    """

    vocab: int
    hidden: int
    head_dim: int
    heads: tuple[int, ...]
    neurons: tuple[int, ...]
    embedding_rank: int
    positions: int
    type_vocab: int = 0
    labels: int = 2
    patches: int = 0
    patch_values: int = 0
    pooled: int = 1

    @property
    def depth(self) -> int:
        return len(self.heads)


@dataclass(frozen=True, kw_only=True)
class BottleneckShape:
    """Sizes of a MobileBERT encoder with a sequence head (arXiv:2004.02984, table 1): thin layers between wide states.

    Attributes:
        width: of the states between layers.
        inner: of the states within a layer, behind its bottleneck.
        embedding: columns of the word table; a token's input is its row and those of both neighbours.
        heads: of one whole layer.
        ffns: that stand one after the other in a layer, each of `neurons` where it is whole.
        has_narrow_attention: attention reads the layer's narrow input; else queries and keys share a bottleneck of their
            own, and values read the wide state.
        has_pooler: the head has a layer of its own before the classifier.
        heads_left, neurons_left: of a pruned encoder, one entry a layer, and in it one an FFN; None where all are whole.
    """

    vocab: int
    width: int
    inner: int
    embedding: int
    depth: int
    heads: int
    ffns: int
    neurons: int
    has_narrow_attention: bool
    positions: int
    type_vocab: int = 2
    labels: int = 2
    has_pooler: bool = False
    heads_left: tuple[int, ...] | None = None
    neurons_left: tuple[tuple[int, ...], ...] | None = None

    @property
    def hidden(self) -> int:
        """Width of the residual stream, under the name it has in `EncoderShape`."""
        return self.width

    @property
    def head_dim(self) -> int:
        return self.inner // self.heads

    @property
    def layers(self) -> list[tuple[int, tuple[int, ...]]]:
        """(heads, neurons of each FFN) of each layer."""
        heads = self.heads_left or (self.heads,) * self.depth
        neurons = self.neurons_left or ((self.neurons,) * self.ffns,) * self.depth
        return list(zip(heads, neurons, strict=True))


@dataclass(frozen=True, kw_only=True)
class Structure:
    """How much of a teacher a candidate keeps.

    Attributes:
        depth: layers kept.
        heads, neurons: fraction of the kept layers' heads and FFN neurons that stay, in (0, 1].
        last_neurons: the same for the last layer alone, which computes one token where the head reads no other: its
            neurons cost bytes and hardly any time. None ranks them with the other layers'.
        embedding_rank: rank of the factorised word table; None leaves it whole.
        vocab_size: most tokens the tokenizer may keep; None keeps every token.
    """

    depth: int
    heads: float = 1.0
    neurons: float = 1.0
    last_neurons: float | None = None
    embedding_rank: int | None = None
    vocab_size: int | None = None

    @property
    def keeps_all_units(self) -> bool:
        return self.heads == self.neurons == 1 and self.last_neurons in (None, 1)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A structure with what it would cost, and, once tried, what it lost.

    Attributes:
        size_bytes: predicted bytes of weights and graph.
        latency_ms: p50 over the validation lengths; measured on this host, else predicted.
        latency_is_measured: which of the two it is.
        trial_drop: teacher minus candidate on validation rows after a short distillation, as a fraction.
        final_drop: the same for the finished artifact.
        decision: why it was taken or left, in words.
    """

    name: str
    structure: Structure
    shape: EncoderShape
    size_bytes: int
    latency_ms: float
    latency_is_measured: bool
    trial_drop: float | None = None
    final_drop: float | None = None
    chosen: bool = False
    decision: str = ""
