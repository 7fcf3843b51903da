"""RUN: opens a bundle and answers with its artifact. numpy, tokenizers or Pillow, and the runtime; never torch."""

from edgesmith.runtime.bundle import TOKENIZER_NAME, Bundle, open_bundle
from edgesmith.runtime.image import ImageEncoder
from edgesmith.runtime.judge import Judge
from edgesmith.runtime.load import load_bundle
from edgesmith.runtime.metrics import METRICS
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession
from edgesmith.runtime.predictor import Predictor
from edgesmith.runtime.text import Answer, TextEncoder, decode_labels, softmax

__all__ = [
    "METRICS",
    "TOKENIZER_NAME",
    "Answer",
    "Bundle",
    "ImageEncoder",
    "Judge",
    "OnnxRuntimeSession",
    "Predictor",
    "TextEncoder",
    "decode_labels",
    "load_bundle",
    "open_bundle",
    "softmax",
]
