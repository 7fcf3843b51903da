from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the extra `onnxruntime` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")

sys.path.insert(0, str(Path(__file__).parents[1]))  # where fixtures_pipeline is

from fixtures_images import digits, headless_vit, image_recipe
from fixtures_pipeline import copied, data, finished, headed, headless, recipe
from fixtures_questions import asked, question_recipe
from fixtures_tags import tag_recipe, tagged

__all__ = [
    "asked",
    "copied",
    "data",
    "digits",
    "finished",
    "headed",
    "headless",
    "headless_vit",
    "image_recipe",
    "question_recipe",
    "recipe",
    "tag_recipe",
    "tagged",
]
