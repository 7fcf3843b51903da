"""What must start fast or run on a board loads no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgesmith

PACKAGE = Path(edgesmith.__file__).parent
HEAVY = ("torch", "transformers", "datasets")
SLOW_TO_START = (
    *HEAVY,
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "onnx",
    "onnxruntime",
    "rich",
    "numpy",
    "matplotlib",
    "jinja2",
)


def loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` a fresh interpreter has loaded after `code`."""
    report = f"\nimport sys\nprint(*[name for name in {names!r} if name in sys.modules], sep=',', end='', file=sys.stderr)"
    command = [sys.executable, "-c", code + report]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(PACKAGE.parent)}
    )
    assert done.returncode == 0, done.stderr
    return [name for name in done.stderr.split(",") if name]


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import edgesmith", (*SLOW_TO_START, "yaml", "click")) == []


def test_the_check_itself_sees_a_loaded_module() -> None:
    assert loaded_by("import numpy", SLOW_TO_START) == ["numpy"]


def test_help_loads_no_library_that_is_slow_to_start() -> None:
    for command in ("compress", "bench"):
        code = f"from edgesmith.cli import main\nmain(['{command}', '--help'], standalone_mode=False)"
        assert loaded_by(code, SLOW_TO_START) == []


def test_a_bench_loads_no_torch() -> None:
    code = (
        "import edgesmith.cli.bench, edgesmith.measure.bench, edgesmith.report.bench, edgesmith.data.inputs"
    )
    assert loaded_by(code, HEAVY) == []
    assert loaded_by("import edgesmith.measure.bench", ("pandas", "scipy", "rich", "onnxruntime")) == []


def test_what_a_board_runs_needs_numpy_only() -> None:
    code = "import edgesmith.measure.on_board, edgesmith.measure.there"
    assert loaded_by(code, (*HEAVY, "yaml", "packaging", "click", "pandas", "scipy", "rich", "numpy")) == [
        "numpy"
    ]


def test_the_doctor_loads_no_library_that_is_slow_to_start() -> None:
    code = "from edgesmith.cli import main\nmain(['doctor', '--quiet'], standalone_mode=False)"
    assert loaded_by("import os; os.environ['HF_HUB_OFFLINE'] = '1'\n" + code, SLOW_TO_START) == []


def test_the_list_of_models_loads_no_torch() -> None:
    code = "from edgesmith.cli import main\n"
    for arguments in (["models"], ["models", "bert-base"], ["models", "--json"]):
        code += f"main({arguments}, standalone_mode=False)\n"
    assert loaded_by(code, (*HEAVY, "numpy", "scipy", "onnx", "pandas")) == []


@pytest.mark.parametrize("room", ["runtime", "targets", "recipe", "records", "errors", "report"])
def test_the_floor_of_the_board_loads_no_torch(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    modules = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    code = "\n".join(f"import {module}" for module in modules if not module.endswith("__main__"))
    assert loaded_by(code, HEAVY) == []
