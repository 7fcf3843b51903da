"""Images: pixels of one size, and nothing to trim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel
from transformers.image_processing_utils import BaseImageProcessor

from edgesmith.data import ImageExamples, Splits
from edgesmith.data.image_encoding import EncodedImages, encode_images
from edgesmith.measure.baseline import linear_pixels
from edgesmith.models import (
    CompactVitForImageClassification,
    LoadedImageModel,
    load_image_classifier,
    shape_of,
    to_compact_vit,
)
from edgesmith.pipeline.modality import Modality
from edgesmith.recipe import Recipe
from edgesmith.records import EncoderShape
from edgesmith.runtime import ImageEncoder
from edgesmith.runtime.judge import Answers

BASELINE_SIZE = (8, 8)
"""Of the images that the linear baseline sees: 192 values in colour."""

_BOX = 4  # Pillow's number of the filter that takes the mean of each pixel's area


class ImageModality(Modality):
    """Images under the model's own preprocessing."""

    student_kind = CompactVitForImageClassification

    def __init__(self, recipe: Recipe, splits: Splits[ImageExamples], loaded: LoadedImageModel) -> None:
        super().__init__(recipe, splits)
        self._processor, self._tokens = loaded.processor, shape_of(loaded.model.config).positions
        self._encoder = ImageEncoder(loaded.preprocessing)
        self.preprocessing = loaded.preprocessing

    @property
    def max_length(self) -> int:
        """Tokens of every image."""
        return self._tokens

    def encode(self, examples: ImageExamples) -> EncodedImages:
        return encode_images(self._encoder, examples, self._tokens)

    def reload(self, folder: Path) -> PreTrainedModel:
        return load_image_classifier(str(folder), self.splits.label_names).model

    def compact(self, model: PreTrainedModel) -> CompactVitForImageClassification:
        return to_compact_vit(model)

    @property
    def reader(self) -> BaseImageProcessor:
        return self._processor

    def remarks(self, shape: EncoderShape, parameters: Sequence[int]) -> tuple[str, ...]:
        total = sum(parameters)
        return (f"{total / 1e6:.1f} M parameters; every image is {shape.positions} tokens",)

    def answer(self, predictor: Any, examples: ImageExamples) -> tuple[Answers, npt.NDArray[np.float32]]:
        logits = predictor.logits(list(examples.images))
        return self.judge.answers(logits), logits

    def linear_baseline(self) -> float:
        train, test = self.splits.train, self.splits.test
        return linear_pixels(
            self._thumbnails(train), train.labels, self._thumbnails(test), test.labels, judge=self.judge
        )

    def _thumbnails(self, examples: ImageExamples) -> npt.NDArray[np.uint8]:
        """(N, H, W, C) of `BASELINE_SIZE`."""
        small = replace(self._encoder.preprocessing, resize=BASELINE_SIZE, crop=None, resample=_BOX)
        encoder = ImageEncoder(small)
        return np.stack([encoder.pixels(image) for image in examples.images])

    def write_inputs(self, examples: ImageExamples, folder: Path) -> list[str]:
        paths = []
        for row, image in enumerate(examples.images):
            path = image if isinstance(image, Path) else folder / f"image-{row}"
            if isinstance(image, bytes):
                path.write_bytes(image)
            paths.append(str(path))
        listing = folder / "inputs.txt"
        listing.write_text("\n".join(paths) + "\n", encoding="utf-8")
        return ["--file", str(listing)]

    def describe(self, examples: ImageExamples) -> dict[str, Sequence[str]]:
        """The file's path; for an image inside a table, the start of its SHA-256."""
        names = [
            str(image) if isinstance(image, Path) else key[:16]
            for image, key in zip(examples.images, examples.hashes, strict=True)
        ]
        return {"image": names}
