"""Blocks of the README that follow `<!-- test -->` run; its tables say what the code's tables say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgesmith.targets import CAPABILITIES, load_target, target_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- test -->\n```(python|bash)\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize(
    ("language", "code"), BLOCK.findall(README), ids=lambda value: value.splitlines()[0][:30]
)
def test_block_runs(language: str, code: str, tmp_path: Path) -> None:
    shell = f'edgesmith() {{ "{sys.executable}" -m edgesmith "$@"; }}\n{code}'
    command = (
        [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", shell]
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_both_languages_are_run() -> None:
    assert {language for language, _ in BLOCK.findall(README)} == {"python", "bash"}


def test_the_table_of_devices_lists_every_profile() -> None:
    rows = [f"| `{name}` | {load_target(name).description} |" for name in target_names()]
    assert "\n".join(rows) in README


def test_the_support_matrix_lists_every_capability() -> None:
    rows = [
        f"| {row.runtime} | {row.kind} | {str(row).removeprefix(f'{row.kind} ')} | {row.computes} |"
        for row in CAPABILITIES
    ]
    assert "\n".join(rows) in README


def test_relative_links_lead_somewhere() -> None:
    for page in (README, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")):
        for link in re.findall(r"\]\((?!https?://|#)([^)]+)\)", page):
            assert (ROOT / link.partition("#")[0]).exists(), link
