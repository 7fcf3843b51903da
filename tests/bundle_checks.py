"""What every bundle must stand, whatever runs it."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from fixtures_text import CHILD_ENVIRONMENT

from edgesmith.errors import BundleError
from edgesmith.runtime import load_bundle, open_bundle

THREADS, CALLS = 4, 5

NOBODY = 65534
"""An account that owns nothing."""

_AS_NOBODY = f"""
import os, pickle, sys
from edgesmith.runtime import load_bundle
first, moved = sys.argv[1:]
inputs = pickle.load(sys.stdin.buffer)
with load_bundle(first) as predictor:  # reads of Python and the runtime what the other account may not be able to reach
    expected = predictor.predict(inputs)
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
try:
    open(os.path.join(moved, "new"), "w")
except PermissionError:
    with load_bundle(moved) as predictor:
        print(os.getuid(), predictor.predict(inputs) == expected)
"""


def link_packages(folder: Path, names: Sequence[str]) -> Path:
    """A folder that holds links to some installed packages, and nothing else."""
    for name in names:
        found = next((place / name for place in map(Path, sys.path) if (place / name).exists()), None)
        if found is not None:
            (folder / name).symlink_to(found)
    return folder


def run_alone(
    packages: Path,
    bundle: Path,
    *arguments: str,
    python: Sequence[str] = (sys.executable,),
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """``run.py`` of a bundle in a Python that sees a folder of packages and its own library alone."""
    start = f"import runpy, sys; sys.path.append({str(packages)!r}); del sys.argv[0]; "
    start += "runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [*python, "-I", "-S", "-c", start, str(bundle / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", **options)


def check_threads(answer: Callable[[Any], Any], inputs: Sequence[Any]) -> None:
    """Several threads that start at once, each with the inputs in another order, get what one thread gets."""
    alone = [answer(one) for one in inputs]
    together = Barrier(THREADS)

    def ask(thread: int) -> list[tuple[int, Any]]:
        together.wait()
        order = [(thread + step) % len(inputs) for step in range(CALLS * len(inputs))]
        return [(place, answer(inputs[place])) for place in order]

    with ThreadPoolExecutor(THREADS) as pool:
        for answers in pool.map(ask, range(THREADS)):
            assert all(found == alone[place] for place, found in answers)


def check_every_file(bundle: Path, scratch: Path) -> None:
    """One flipped bit in any file of a bundle, and it is refused with that file's name."""
    copy = Path(shutil.copytree(bundle, scratch / "flipped"))
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=rf"{path.name} (or \S+ )?has changed"):
            load_bundle(copy)
        path.write_bytes(content)
    assert open_bundle(copy).path == copy


def check_moved_and_read_only(bundle: Path, scratch: Path, inputs: Any) -> None:
    """In another folder, with nobody allowed to write, a bundle answers as it did and stays as it was."""
    moved = Path(shutil.copytree(bundle, scratch / "elsewhere" / "bundle"))
    before = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    for path in before:
        path.chmod(0o444)
    moved.chmod(0o555)
    try:
        with load_bundle(bundle) as here, load_bundle(moved) as there:
            assert there.predict(inputs) == here.predict(inputs)
    finally:
        moved.chmod(0o755)
    assert {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()} == before


def check_second_account(bundle: Path, inputs: Sequence[str | bytes]) -> None:
    """A moved bundle answers an account that neither owns it nor may write there; skips a test that root does not run."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may take another account's place")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other accounts
        moved = Path(shutil.copytree(bundle, Path(folder, "bundle")))
        for path in moved.rglob("*"):
            path.chmod(0o444)
        moved.chmod(0o555), Path(folder).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, bundle, moved],
            input=pickle.dumps(list(inputs)),
            capture_output=True,
            env=CHILD_ENVIRONMENT,
        )
    assert (done.stdout.decode().split(), done.returncode) == ([str(NOBODY), "True"], 0), done.stderr.decode()
