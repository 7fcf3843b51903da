"""A vision transformer in little: random weights of four layers, and scikit-learn's handwritten digits as PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    Dinov2Config,
    Dinov2ForImageClassification,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
    set_seed,
)

from edgesmith.models import CompactVitConfig, CompactVitForImageClassification
from edgesmith.recipe import (
    Budget,
    DataConfig,
    DistillConfig,
    FinetuneConfig,
    PruneConfig,
    QuantizeConfig,
    Recipe,
    RecoveryConfig,
    SearchConfig,
    ValidateConfig,
)

pytest.importorskip("PIL", reason="the extra `vision` is not installed")
import PIL.Image

SIDE, HIDDEN, LABELS = 16, 32, 5
DIGIT_ROWS = {"train": 900, "test": 200}

SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 4,
    "initializer_range": 0.2,
    "num_labels": LABELS,
}


def tiny_vit(seed: int = 0, **changes: object) -> ViTForImageClassification:
    """3 layers, 4 heads; weights wide enough that every part of it shows in the logits."""
    set_seed(seed)
    return _seasoned(ViTForImageClassification(ViTConfig(**SIZES | {"intermediate_size": 48} | changes)))


def tiny_deit(seed: int = 0, **changes: object) -> DeiTForImageClassification:
    set_seed(seed)
    return _seasoned(DeiTForImageClassification(DeiTConfig(**SIZES | {"intermediate_size": 48} | changes)))


def tiny_dinov2(seed: int = 0, **changes: object) -> Dinov2ForImageClassification:
    set_seed(seed)
    return _seasoned(Dinov2ForImageClassification(Dinov2Config(**SIZES | {"mlp_ratio": 2} | changes)))


def tiny_compact_vit(seed: int = 0, **changes: object) -> CompactVitForImageClassification:
    """A compact vision transformer with layers of different widths and patches that are not square."""
    settings = {
        "image_size": [16, 12],
        "patch_size": [4, 2],
        "hidden_size": HIDDEN,
        "head_dim": 8,
        "heads_per_layer": [4, 1, 3],
        "ffn_per_layer": [48, 16, 20],
        "initializer_range": 0.2,
        "id2label": dict(enumerate("abcde")),
    }
    set_seed(seed)
    return _seasoned(CompactVitForImageClassification(CompactVitConfig(**settings | changes)))


def random_pixels(count: int = 4, size: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> dict[str, Tensor]:
    """A batch of noise with labels and the rows' indices."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "pixel_values": torch.randn(count, 3, *size, generator=generator),
        "labels": torch.arange(count) % LABELS,
        "row": torch.arange(count),
    }


@torch.no_grad()
def image_logits(model: PreTrainedModel, batch: dict[str, Tensor], **more: object) -> Tensor:
    return model(pixel_values=batch["pixel_values"], **more).logits


def noise_arrays(count: int, seed: int = 0) -> np.ndarray:
    """(N, 4, 4, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def write_images(folder: Path, arrays: Sequence[np.ndarray], labels: Sequence[object]) -> Path:
    """``folder/LABEL/NUMBER.png`` for every array of uint8."""
    for number, (array, label) in enumerate(zip(arrays, labels, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(array).save(folder / str(label) / f"{number}.png")
    return folder


def digit_arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 16, 16) of uint8, each of the 8 x 8 pixels of 0 to 16 four times, and labels (N,)."""
    found = load_digits()
    return (found.images * 15).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2), found.target


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of PNG files: ``train`` and ``test``, a folder a digit in each."""
    folder, start = tmp_path_factory.mktemp("digits"), 0
    images, labels = digit_arrays()
    for split, count in DIGIT_ROWS.items():
        write_images(folder / split, images[start : start + count], labels[start : start + count])
        start += count
    return folder


@pytest.fixture(scope="session")
def headless_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a vision transformer of four layers without a head, with its image processor."""
    folder = tmp_path_factory.mktemp("models") / "vit"
    set_seed(0)
    sizes = SIZES | {"hidden_size": 64, "num_hidden_layers": 4, "initializer_range": 0.05}
    ViTModel(ViTConfig(**sizes, intermediate_size=128), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def image_recipe(headless_vit: Path, digits: Path) -> Recipe:
    """Everything short; the budget is so wide that the first candidate keeps it, and what it learns is asserted."""
    return Recipe(
        model=str(headless_vit),
        data=DataConfig(path=str(digits)),
        task="image-classification",
        budget=Budget(max_drop=0.3),
        finetune=FinetuneConfig(epochs=12.0, learning_rate=2e-3, evaluations=2),
        distill=DistillConfig(epochs=4.0, learning_rate=2e-3, evaluations=2),
        prune=PruneConfig(
            importance_rows=64, recovery=RecoveryConfig(epochs=8.0, learning_rate=2e-3, evaluations=2)
        ),
        quantize=QuantizeConfig(calibration_rows=32),
        search=SearchConfig(
            candidates=("tiny", "small"), min_trials=1, max_trials=1, trial_rows=200, max_attempts=1
        ),
        validate=ValidateConfig(inputs=8, rounds=10, resamples=200, min_agreement=0.5),
    )


def _seasoned(model: PreTrainedModel) -> PreTrainedModel:
    """Biases, norms, tokens and positions away from their initial values, so that a test sees where they go."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() != 2:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()
