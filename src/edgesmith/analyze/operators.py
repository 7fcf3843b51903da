"""The operators of an encoder in the order in which they run, each with its work and the tensors it touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt
from typing import TypeGuard

from edgesmith.records import BottleneckShape, EncoderShape, KernelKind
from edgesmith.targets.profile import ELEMENT_BYTES

Shape = EncoderShape | BottleneckShape


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator for one input. Sizes of tensors are in elements.

    Attributes:
        part: the component it belongs to, such as ``layer 0 attention``.
        rows, inner, outer: of a product (rows, inner) x (inner, outer); zero inner where nothing is multiplied.
        batch: products of that size.
        matrix: weights that quantization shrinks.
        channels: of these, output channels or table rows, each with a scale of its own in INT8.
        vector: biases, norms and small tables, which stay in FP32.
        table_read: weights that are read where these are tables, of which most rows are not.
        read, written: activations.
        held: activations that others wrote and others will read, in memory meanwhile.
    """

    name: str
    part: str
    kind: KernelKind
    rows: int = 0
    inner: int = 0
    outer: int = 0
    batch: int = 1
    matrix: int = 0
    channels: int = 0
    vector: int = 0
    table_read: int | None = None
    read: int = 0
    written: int = 0
    held: int = 0

    @property
    def macs(self) -> int:
        return self.batch * self.rows * self.inner * self.outer

    @property
    def live(self) -> int:
        """Activations in memory while it runs."""
        return self.read + self.written + self.held

    def stored_bytes(self, precision: str) -> float:
        """Of its weights; an integer format adds a scale and a zero point to each channel."""
        scales = 5 * self.channels if precision in ("int8", "int4") else 0
        return ELEMENT_BYTES[precision] * self.matrix + scales + 4 * self.vector

    def read_bytes(self, precision: str) -> float:
        """Of its weights, that one inference reads."""
        if self.table_read is None:
            return self.stored_bytes(precision)
        return self.table_read * (ELEMENT_BYTES[precision] if self.matrix else 4)


def is_of_images(shape: Shape) -> TypeGuard[EncoderShape]:
    """Whether inputs are images, which have one size."""
    return isinstance(shape, EncoderShape) and shape.patches > 0


def operators(shape: Shape, tokens: int) -> list[Operator]:
    """Every operator of an encoder with its head; each layer computes all tokens.

    Args:
        tokens: length of the input; of an image its patches and first tokens.
    """
    if isinstance(shape, BottleneckShape):
        return [*_bottleneck_operators(shape, tokens)]
    return [*_encoder_operators(shape, tokens)]


def image_shape(shape: EncoderShape, side: int) -> EncoderShape:
    """The shape of a vision transformer for images of `side` x `side` patches, positions stretched to them."""
    first = shape.positions - shape.patches
    return replace(shape, patches=side * side, positions=side * side + first)


def image_pixels(shape: EncoderShape) -> int:
    """Side of a square image of three channels, of square patches."""
    return isqrt(shape.patches * shape.patch_values // 3)


def linear(
    name: str,
    part: str,
    rows: int,
    inner: int,
    outer: int,
    *,
    bias: bool = True,
    held: int = 0,
) -> Operator:
    """A linear layer over `rows` tokens."""
    return Operator(
        name=name,
        part=part,
        kind="linear",
        rows=rows,
        inner=inner,
        outer=outer,
        matrix=inner * outer,
        channels=outer,
        vector=outer if bias else 0,
        read=rows * inner,
        written=rows * outer,
        held=held,
    )


def norm(part: str, rows: int, width: int, *, name: str = "residual and norm") -> Operator:
    """A sum with what came before, and its norm: a scale and a bias for each unit."""
    size = rows * width
    return Operator(
        name=name,
        part=part,
        kind="norm",
        rows=rows,
        outer=width,
        vector=2 * width,
        read=2 * size,
        written=size,
    )


def _activation(part: str, rows: int, width: int, held: int) -> Operator:
    size = rows * width
    return Operator(
        name="activation", part=part, kind="activation", rows=rows, outer=width, read=size, written=size, held=held
    )  # fmt: skip


def _lookup(name: str, part: str, tokens: int, width: int, **weights: int) -> Operator:
    """Rows of a table, one a token."""
    size = tokens * width
    return Operator(
        name=name, part=part, kind="norm", rows=tokens, outer=width, table_read=size, written=size, **weights
    )


def _positions(shape: Shape, tokens: int, width: int) -> Operator:
    """Positions and token types are added to the words, and the sum is normed."""
    size, tables = tokens * width, 1 + (shape.type_vocab > 0)
    return Operator(
        name="positions, types and norm",
        part="position and type embeddings",
        kind="norm",
        rows=tokens,
        outer=width,
        vector=(shape.positions + shape.type_vocab) * width + 2 * width,
        table_read=tables * size + 2 * width,
        read=size,
        written=size,
    )


def attention(part: str, tokens: int, heads: int, head_dim: int, held: int) -> Iterator[Operator]:
    """Scores, softmax and weighted values.

    Args:
        held: elements of what the layer read, kept for the residual.
    """
    width, scores = heads * head_dim, heads * tokens * tokens
    size = tokens * width
    yield Operator(
        name="scores",
        part=part,
        kind="products",
        rows=tokens,
        inner=head_dim,
        outer=tokens,
        batch=heads,
        read=2 * size,
        written=scores,
        held=size + held,
    )
    yield Operator(
        name="softmax",
        part=part,
        kind="softmax",
        rows=heads * tokens,
        outer=tokens,
        read=scores,
        written=scores,
        held=size + held,
    )
    yield Operator(
        name="weighted values",
        part=part,
        kind="products",
        rows=tokens,
        inner=tokens,
        outer=head_dim,
        batch=heads,
        read=scores + size,
        written=size,
        held=held,
    )


def _encoder_operators(shape: EncoderShape, tokens: int) -> Iterator[Operator]:
    hidden, stream = shape.hidden, tokens * shape.hidden
    yield from _patches(shape) if shape.patches else _words(shape, tokens)
    for index, (heads, neurons) in enumerate(zip(shape.heads, shape.neurons, strict=True)):
        width = heads * shape.head_dim
        part = f"layer {index} attention"
        yield linear("query, key, value", part, tokens, hidden, 3 * width)
        yield from attention(part, tokens, heads, shape.head_dim, stream)
        yield linear("output", part, tokens, width, hidden, held=stream)
        yield norm(part, tokens, hidden)
        part = f"layer {index} FFN"
        yield linear("intermediate", part, tokens, hidden, neurons)
        yield _activation(part, tokens, neurons, stream)
        yield linear("output", part, tokens, neurons, hidden, held=stream)
        yield norm(part, tokens, hidden)
    if shape.patches:
        yield norm("head", shape.positions, hidden, name="norm")
        yield linear("classifier", "head", 1, shape.pooled * hidden, shape.labels)
    else:
        yield linear("pooler", "head", 1, hidden, hidden)
        yield linear("classifier", "head", 1, hidden, shape.labels)


def _words(shape: EncoderShape, tokens: int) -> Iterator[Operator]:
    rank, part = shape.embedding_rank, "word embeddings"
    yield _lookup("word table", part, tokens, rank, matrix=shape.vocab * rank, channels=shape.vocab)
    if rank != shape.hidden:
        yield linear("projection", part, tokens, rank, shape.hidden, bias=False)
    yield _positions(shape, tokens, shape.hidden)


def _patches(shape: EncoderShape) -> Iterator[Operator]:
    yield linear("projection", "patch embedding", shape.patches, shape.patch_values, shape.hidden)
    size = shape.positions * shape.hidden
    yield Operator(
        name="positions",
        part="position embeddings and first tokens",
        kind="norm",
        rows=shape.positions,
        outer=shape.hidden,
        vector=size,
        read=shape.patches * shape.hidden,
        written=size,
    )


def _bottleneck_operators(shape: BottleneckShape, tokens: int) -> Iterator[Operator]:
    """Those of MobileBERT; its norms are a scale and a bias each (arXiv:2004.02984, section 3.2)."""
    width, part = shape.width, "word embeddings"
    table = shape.vocab * shape.embedding
    yield _lookup("word table", part, tokens, shape.embedding, matrix=table, channels=shape.vocab)
    yield linear("projection of three", part, tokens, 3 * shape.embedding, width)
    yield _positions(shape, tokens, width)
    for index, (heads, neurons) in enumerate(shape.layers):
        yield from _bottleneck_layer(shape, tokens, index, heads, neurons)
    if shape.has_pooler:
        yield linear("pooler", "head", 1, width, width)
    yield linear("classifier", "head", 1, width, shape.labels)


def _bottleneck_layer(
    shape: BottleneckShape, tokens: int, index: int, heads: int, neurons: tuple[int, ...]
) -> Iterator[Operator]:
    width, inner, across = shape.width, shape.inner, heads * shape.head_dim
    stream, narrow = tokens * width, tokens * inner
    bottlenecks, part = f"layer {index} bottlenecks", f"layer {index} attention"
    entries = ("input",) if shape.has_narrow_attention else ("input", "query and key input")
    for name in entries:
        yield linear(name, bottlenecks, tokens, width, inner)
        yield norm(bottlenecks, tokens, inner, name=f"{name} norm")
    values = inner if shape.has_narrow_attention else width
    yield linear("query", part, tokens, inner, across, held=stream + narrow)
    yield linear("key", part, tokens, inner, across, held=stream + narrow + tokens * across)
    yield linear("value", part, tokens, values, across, held=narrow + 2 * tokens * across)
    yield from attention(part, tokens, heads, shape.head_dim, stream + narrow)
    yield linear("output", part, tokens, across, inner, held=stream + narrow)
    yield norm(part, tokens, inner)
    part = f"layer {index} FFN"
    for count in neurons:
        yield linear("intermediate", part, tokens, inner, count, held=stream)
        yield _activation(part, tokens, count, stream + narrow)
        yield linear("output", part, tokens, count, inner, held=stream + narrow)
        yield norm(part, tokens, inner)
    yield linear("output", bottlenecks, tokens, inner, width, held=stream)
    yield norm(bottlenecks, tokens, width, name="output norm")
