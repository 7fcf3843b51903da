"""CIFAR-10 with a small vision transformer, trained from random weights. Resumable; writes results/cifar10.md.

    python benchmarks/cifar10.py [runs/folder]

The teacher is weak, as a vision transformer is that has seen no other images: the run shows what compression keeps of it,
not what CIFAR-10 allows. The data is not part of the project: it is looked for in ../shared/data/cifar10, or where
CIFAR10_DATA says, as train.parquet and test.parquet with the columns image and label.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from jobs import compress
from table import write_table
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("CIFAR10_DATA", ROOT.parent / "shared" / "data" / "cifar10"))
SIDE, ROWS = 32, 8_000
SETTINGS = (
    "finetune.epochs=12",
    "finetune.learning_rate=1e-3",
    "finetune.batch_size=128",
    "distill.epochs=2",
    "distill.learning_rate=1e-3",
    "distill.batch_size=128",
    "prune.recovery.epochs=6",
    "prune.recovery.learning_rate=1e-3",
    "prune.recovery.batch_size=128",
)


def main(runs: Path) -> None:
    if not (DATA / "train.parquet").is_file():
        raise SystemExit(f"{DATA} has no train.parquet. Set CIFAR10_DATA to a folder with train and test.")
    model, folder = runs / "vit-random", runs / "cifar10"
    if not (model / "preprocessor_config.json").is_file():
        write_model(model)
    compress(model, DATA, folder, ["--task", "image-classification", "--max-rows", str(ROWS)], SETTINGS)
    title = f"CIFAR-10, {ROWS:,} training rows, a vision transformer from random weights"
    print(write_table(ROOT / "results" / "cifar10.md", title, "python benchmarks/cifar10.py", [folder]))


def write_model(folder: Path) -> None:
    """Six layers of width 192 over patches of 4 x 4 pixels: 2.7 M parameters."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=SIDE,
        patch_size=4,
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=6,
        intermediate_size=768,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs")
