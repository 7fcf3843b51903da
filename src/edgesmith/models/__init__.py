"""KNOW: the model families, our compact encoder, loading and saving. Importing it registers our Auto classes."""

from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from edgesmith.models.compact import (
    CompactBert,
    CompactBertConfig,
    CompactBertForSequenceClassification,
    CompactBertForTokenClassification,
    CompactEncoder,
)
from edgesmith.models.compact_mobilebert import (
    CompactMobileBertConfig,
    CompactMobileBertForSequenceClassification,
    CompactMobileBertForTokenClassification,
)
from edgesmith.models.compact_vit import CompactVitConfig, CompactVitForImageClassification
from edgesmith.models.families import FAMILIES, WHOLE_FAMILIES, shape_of, to_compact
from edgesmith.models.load import (
    LoadedImageModel,
    LoadedModel,
    load_classifier,
    load_image_classifier,
    load_span_finder,
    load_token_classifier,
    load_tokenizer,
    save_classifier,
)
from edgesmith.models.vision import VISION_FAMILIES, to_compact_vit
from edgesmith.models.zoo import build_zoo_model, load_zoo_classifier, zoo_config

AutoConfig.register(CompactBertConfig.model_type, CompactBertConfig, exist_ok=True)
AutoModelForSequenceClassification.register(
    CompactBertConfig, CompactBertForSequenceClassification, exist_ok=True
)
AutoModelForTokenClassification.register(CompactBertConfig, CompactBertForTokenClassification, exist_ok=True)
AutoConfig.register(CompactMobileBertConfig.model_type, CompactMobileBertConfig, exist_ok=True)
AutoModelForSequenceClassification.register(
    CompactMobileBertConfig, CompactMobileBertForSequenceClassification, exist_ok=True
)
AutoModelForTokenClassification.register(
    CompactMobileBertConfig, CompactMobileBertForTokenClassification, exist_ok=True
)
AutoConfig.register(CompactVitConfig.model_type, CompactVitConfig, exist_ok=True)
AutoModelForImageClassification.register(CompactVitConfig, CompactVitForImageClassification, exist_ok=True)

__all__ = [
    "FAMILIES",
    "VISION_FAMILIES",
    "WHOLE_FAMILIES",
    "CompactBert",
    "CompactBertConfig",
    "CompactBertForSequenceClassification",
    "CompactBertForTokenClassification",
    "CompactEncoder",
    "CompactMobileBertConfig",
    "CompactMobileBertForSequenceClassification",
    "CompactMobileBertForTokenClassification",
    "CompactVitConfig",
    "CompactVitForImageClassification",
    "LoadedImageModel",
    "LoadedModel",
    "build_zoo_model",
    "load_classifier",
    "load_image_classifier",
    "load_span_finder",
    "load_token_classifier",
    "load_tokenizer",
    "load_zoo_classifier",
    "save_classifier",
    "shape_of",
    "to_compact",
    "to_compact_vit",
    "zoo_config",
]
