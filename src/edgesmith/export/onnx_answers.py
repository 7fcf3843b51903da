"""A prepared file run by ONNX Runtime on the CPU, beside the PyTorch model that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from edgesmith.errors import ExportError
from edgesmith.export.order import Feeds
from edgesmith.runtime.onnxruntime import OnnxRuntimeSession

MIN_AGREEMENT = 0.8
"""Of choices; below it a file is broken. The same as `edgesmith.recipe.ValidateConfig.min_agreement`."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How a file's logits compare with the model's.

    Attributes:
        rows: that both answered.
        cosine: of a row's logits, that of the worst row.
        max_abs_error: largest difference of a logit.
        agreement: share of choices, one a row or one a token, in which the same logit is largest; None for scores.
    """

    rows: int
    cosine: float
    max_abs_error: float
    agreement: float | None

    def __str__(self) -> str:
        told = (
            f"ONNX Runtime answered {self.rows} calibration rows: worst cosine to the FP32 model {self.cosine:.4f}, "
            f"largest difference {self.max_abs_error:.3g}"
        )
        return told if self.agreement is None else f"{told}, same choice in {100 * self.agreement:.1f} %"


def compare(
    model: PreTrainedModel,
    path: Path,
    rows: Sequence[Feeds],
    prepared: Callable[[Feeds], Feeds] = lambda row: row,
) -> Answers:
    """Runs model and file on the same rows.

    Args:
        rows: each a batch of one without padding.
        prepared: a row as the file takes it, such as padded; logits of padding are left out.

    Raises:
        ExportError: a logit that is no number, or fewer equal choices than `MIN_AGREEMENT`.
    """
    session = OnnxRuntimeSession(path)
    wanted = [_logits(model, row) for row in rows]
    found = [_cut(session.run(prepared(row)), one.shape) for row, one in zip(rows, wanted, strict=True)]
    if not all(np.isfinite(logits).all() for logits in found):
        raise ExportError(
            f"{path.name} answers with NaN or infinity. Give more calibration rows with --data."
        )
    result = Answers(
        rows=len(rows),
        cosine=min(_cosine(left, right) for left, right in zip(wanted, found, strict=True)),
        max_abs_error=max(
            float(np.abs(left - right).max()) for left, right in zip(wanted, found, strict=True)
        ),
        agreement=_agreement(wanted, found) if wanted[0].shape[-1] > 1 else None,
    )
    if result.agreement is not None and result.agreement < MIN_AGREEMENT:
        raise ExportError(
            f"{path.name} makes the FP32 model's choice in {100 * result.agreement:.1f} % of cases; at least "
            f"{100 * MIN_AGREEMENT:.0f} % are expected. Give rows like those of the device with --data, or 16-bit activations."
        )
    return result


@torch.no_grad()
def _logits(model: PreTrainedModel, row: Feeds) -> Logits:
    inputs = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in row.items()}
    logits: Logits = model(**inputs).logits.float().numpy()
    return logits


def _cut(logits: Logits, shape: tuple[int, ...]) -> Logits:
    return logits[tuple(slice(size) for size in shape)]


def _cosine(left: Logits, right: Logits) -> float:
    norms = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float((left * right).sum()) / norms if norms else 1.0


def _agreement(wanted: Sequence[Logits], found: Sequence[Logits]) -> float:
    same = [(left.argmax(-1) == right.argmax(-1)).ravel() for left, right in zip(wanted, found, strict=True)]
    return float(np.concatenate(same).mean())
