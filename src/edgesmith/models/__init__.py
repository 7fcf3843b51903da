"""KNOW: the model families, our compact encoder, loading and saving. Importing it registers our Auto classes."""

from transformers import AutoConfig, AutoModelForSequenceClassification

from edgesmith.models.compact import CompactBertConfig, CompactBertForSequenceClassification
from edgesmith.models.families import FAMILIES, shape_of, to_compact
from edgesmith.models.load import LoadedModel, load_classifier, load_tokenizer, save_classifier

AutoConfig.register(CompactBertConfig.model_type, CompactBertConfig, exist_ok=True)
AutoModelForSequenceClassification.register(
    CompactBertConfig, CompactBertForSequenceClassification, exist_ok=True
)

__all__ = [
    "FAMILIES",
    "CompactBertConfig",
    "CompactBertForSequenceClassification",
    "LoadedModel",
    "load_classifier",
    "load_tokenizer",
    "save_classifier",
    "shape_of",
    "to_compact",
]
