"""A classifier as converters take it: tensors in, logits out."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel


class LogitsOnly(nn.Module):
    """The model as a function of its tensors, in the order of their names.

    Args:
        model: its weights are called ``model.<name>`` here.
        names: of the inputs that are given.
    """

    def __init__(self, model: PreTrainedModel, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self._names = model, names

    def forward(self, *tensors: Tensor) -> Tensor:
        logits: Tensor = self.model(**dict(zip(self._names, tensors, strict=True))).logits
        return logits
