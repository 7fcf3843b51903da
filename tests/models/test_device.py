from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from edgesmith.models.device import prepare_torch, use_bf16

CPUINFO = Path("/proc/cpuinfo")


def test_denormal_numbers_are_flushed_to_zero_and_threads_are_set():
    threads = torch.get_num_threads()
    try:
        prepare_torch(threads + 1)
        assert torch.get_num_threads() == threads + 1
        assert float(torch.full((64,), 1e-40) * 1.0 @ torch.ones(64)) == 0.0
        prepare_torch()
        assert torch.get_num_threads() == threads + 1  # left alone
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@pytest.mark.skipif(not CPUINFO.is_file(), reason="no /proc/cpuinfo: not Linux")
def test_bf16_is_used_where_it_is_multiplied_in_hardware():
    flags = re.search(r"^flags\s*:(.*)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    units = {"amx_bf16", "avx512_bf16"}
    assert use_bf16() == (flags is not None and not units.isdisjoint(flags[1].split()))
