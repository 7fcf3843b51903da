"""Pixels of images, decoded when they are asked for, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from edgesmith.data.encoding import EncodedRows, Row
from edgesmith.data.examples import ImageExamples
from edgesmith.runtime.image import ImageEncoder, Pixels

CACHE_BYTES = 1 << 30
"""Decoded pixels that are kept; images beyond that are decoded each time. All of CIFAR-10 at 64 x 64 fits."""


@dataclass
class _Decoder:
    """Decodes images once, as far as there is room to keep them."""

    encoder: ImageEncoder
    images: tuple[object, ...]
    kept: dict[int, Pixels] = field(default_factory=dict)
    kept_bytes: int = 0

    def __call__(self, index: int) -> Pixels:
        """(H, W, C) of 0 to 255."""
        if index in self.kept:
            return self.kept[index]
        pixels = self.encoder.pixels(self.images[index])
        if self.kept_bytes + pixels.nbytes <= CACHE_BYTES:
            self.kept[index] = pixels
            self.kept_bytes += pixels.nbytes
        return pixels


@dataclass(frozen=True)
class EncodedImages(EncodedRows):
    """Images and labels, ready for a `transformers.Trainer`.

    Attributes:
        decoder: of all images; those taken from them share it.
        labels: class index of each row.
        tokens: positions that the model computes for an image.
        indices: of each row in the decoder.
    """

    decoder: _Decoder
    labels: list[float]
    tokens: int
    indices: list[int]

    def __getitem__(self, index: int) -> Row:
        return {
            "pixels": self.decoder(self.indices[index]),
            "labels": self.labels[index],
            "row": index,
        }

    @property
    def lengths(self) -> list[int]:
        return [self.tokens] * len(self)

    def collate(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Rows as one batch.

        Returns:
            pixel_values: (B, C, H, W) float32; labels and row (the index of each row): (B,) int64.
        """
        pixels = np.stack([row["pixels"] for row in rows])  # (B, H, W, C)
        return {
            "pixel_values": torch.from_numpy(self.decoder.encoder.normalise(pixels)),
            "labels": torch.tensor([row["labels"] for row in rows]),
            "row": torch.tensor([row["row"] for row in rows]),
        }

    def take(self, rows: Sequence[int]) -> EncodedImages:
        return EncodedImages(
            self.decoder,
            [self.labels[row] for row in rows],
            self.tokens,
            [self.indices[row] for row in rows],
        )


def encode_images(encoder: ImageEncoder, examples: ImageExamples, tokens: int) -> EncodedImages:
    """Rows whose images are decoded as they are read; `tokens` is the length of the model's sequence."""
    return EncodedImages(
        _Decoder(encoder, examples.images), list(examples.labels), tokens, list(range(len(examples)))
    )
