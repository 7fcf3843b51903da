"""Parameters, multiply-accumulates and bytes of an encoder, counted from its shape."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.records import BottleneckShape, EncoderShape

GRAPH_BYTES = 9_000
GRAPH_BYTES_PER_LAYER = 11_000
"""Nodes and names of an ONNX file with INT8 linear layers: 42 kB at 3 layers, 75 kB at 6, measured."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One component of an encoder.

    Attributes:
        matrix: elements of its weight matrices, which quantization shrinks.
        channels: output channels (or table rows), each with a scale of its own in INT8.
        vector: elements of biases, norms and small tables, which stay in FP32.
        macs: for one input.
    """

    name: str
    matrix: int
    channels: int
    vector: int
    macs: int

    @property
    def parameters(self) -> int:
        return self.matrix + self.vector

    @property
    def int8_bytes(self) -> int:
        """One byte an element; a scale and a zero point a channel; the vectors in FP32."""
        return self.matrix + 5 * self.channels + 4 * self.vector


def count(shape: EncoderShape | BottleneckShape, tokens: int) -> list[Part]:
    """The parts of an encoder with its head.

    Args:
        tokens: length of the input the MACs are for; `positions` of an image. Every layer is counted over all tokens.
    """
    if isinstance(shape, BottleneckShape):
        return _bottleneck_parts(shape, tokens)
    hidden = shape.hidden
    parts = _patch_parts(shape) if shape.patches else _token_parts(shape, tokens)
    for index, (heads, neurons) in enumerate(zip(shape.heads, shape.neurons, strict=True)):
        width = heads * shape.head_dim
        parts.append(
            Part(
                name=f"layer {index} attention",
                matrix=4 * width * hidden,
                channels=3 * width + hidden,
                vector=3 * width + hidden + 2 * hidden,
                macs=tokens * 4 * width * hidden + 2 * tokens * tokens * width,
            )
        )
        parts.append(
            Part(
                name=f"layer {index} FFN",
                matrix=2 * hidden * neurons,
                channels=neurons + hidden,
                vector=neurons + hidden + 2 * hidden,
                macs=tokens * 2 * hidden * neurons,
            )
        )
    return [*parts, _image_head(shape) if shape.patches else _text_head(shape)]


def _token_parts(shape: EncoderShape, tokens: int) -> list[Part]:
    hidden, rank = shape.hidden, shape.embedding_rank
    factor = rank != hidden
    return [
        Part(
            name="word embeddings",
            matrix=shape.vocab * rank + (rank * hidden if factor else 0),
            channels=shape.vocab + (hidden if factor else 0),
            vector=0,
            macs=tokens * rank * hidden if factor else 0,
        ),
        Part(
            name="position and type embeddings",
            matrix=0,
            channels=0,
            vector=(shape.positions + shape.type_vocab) * hidden + 2 * hidden,
            macs=0,
        ),
    ]


def _bottleneck_parts(shape: BottleneckShape, tokens: int) -> list[Part]:
    """Those of MobileBERT; its norms are a scale and a bias each (arXiv:2004.02984, section 3.2)."""
    width, inner = shape.width, shape.inner
    table, joined = shape.vocab * shape.embedding, 3 * shape.embedding * width
    parts = [
        Part(
            name="word embeddings",
            matrix=table + joined,
            channels=shape.vocab + width,
            vector=width,
            macs=tokens * joined,
        ),
        Part(
            name="position and type embeddings",
            matrix=0,
            channels=0,
            vector=(shape.positions + shape.type_vocab) * width + 2 * width,
            macs=0,
        ),
    ]
    entries = 1 if shape.has_narrow_attention else 2  # bottlenecks: of the layer, and of queries and keys
    values = inner if shape.has_narrow_attention else width
    narrowing = (entries + 1) * width * inner
    for index, (heads, neurons) in enumerate(shape.layers):
        across = heads * shape.head_dim
        attention = (3 * inner + values) * across
        ffn = 2 * inner * sum(neurons)
        parts += [
            Part(
                name=f"layer {index} bottlenecks",
                matrix=narrowing,
                channels=entries * inner + width,
                vector=3 * (entries * inner + width),
                macs=tokens * narrowing,
            ),
            Part(
                name=f"layer {index} attention",
                matrix=attention,
                channels=3 * across + inner,
                vector=3 * across + 3 * inner,
                macs=tokens * attention + 2 * tokens * tokens * across,
            ),
            Part(
                name=f"layer {index} FFN",
                matrix=ffn,
                channels=sum(neurons) + len(neurons) * inner,
                vector=sum(neurons) + len(neurons) * 3 * inner,
                macs=tokens * ffn,
            ),
        ]
    outputs = shape.labels + (width if shape.has_pooler else 0)
    head = width * outputs
    return [*parts, Part(name="head", matrix=head, channels=outputs, vector=outputs, macs=head)]


def _patch_parts(shape: EncoderShape) -> list[Part]:
    matrix = shape.patch_values * shape.hidden
    return [
        Part(
            name="patch embedding",
            matrix=matrix,
            channels=shape.hidden,
            vector=shape.hidden,
            macs=shape.patches * matrix,
        ),
        Part(
            name="position embeddings and first tokens",
            matrix=0,
            channels=0,
            vector=shape.positions * shape.hidden,
            macs=0,
        ),
    ]


def _text_head(shape: EncoderShape) -> Part:
    """Pooler and classifier, over one token."""
    head, outputs = shape.hidden * (shape.hidden + shape.labels), shape.hidden + shape.labels
    return Part(name="head", matrix=head, channels=outputs, vector=outputs, macs=head)


def _image_head(shape: EncoderShape) -> Part:
    """The last norm and the classifier."""
    head = shape.pooled * shape.hidden * shape.labels
    return Part(
        name="head", matrix=head, channels=shape.labels, vector=2 * shape.hidden + shape.labels, macs=head
    )


def parameters(shape: EncoderShape | BottleneckShape) -> int:
    return sum(part.parameters for part in count(shape, 1))


def macs(shape: EncoderShape | BottleneckShape, tokens: int) -> int:
    return sum(part.macs for part in count(shape, tokens))


def int8_file_bytes(shape: EncoderShape) -> int:
    """Predicted bytes of the ONNX file with every matrix in INT8."""
    return (
        sum(part.int8_bytes for part in count(shape, 1)) + GRAPH_BYTES + GRAPH_BYTES_PER_LAYER * shape.depth
    )
