"""How torch is set up on this machine for training and reference runs."""

from __future__ import annotations

import torch
from transformers.utils import logging

from edgesmith.records import describe_environment


def prepare_torch(threads: int | None = None) -> None:
    """Settings of the process, to be made before the first tensor operation.

    Denormal numbers are flushed to zero: the moments of AdamW decay into them for embedding rows that a batch does not
    touch, and a step on a CPU then takes up to five times as long (LOG.md). Threads that torch starts later inherit it.
    Remarks and bars of transformers are switched off, since ours say the same.
    """
    torch.set_flush_denormal(True)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)


def use_bf16() -> bool:
    """Whether this processor multiplies BF16 in hardware; elsewhere BF16 is emulated and slower than FP32."""
    return not {"amx_bf16", "avx512_bf16"}.isdisjoint(describe_environment(()).features)
