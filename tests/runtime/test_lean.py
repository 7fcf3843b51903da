from __future__ import annotations

import pkgutil
import subprocess
import sys

from fixtures_text import CHILD_ENVIRONMENT

import edgesmith.records
import edgesmith.runtime

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "onnxruntime",
    "openvino",
    "executorch",
    "tokenizers",
    "sklearn",
    "scipy",
    "yaml",
)


def modules_of(package) -> list[str]:
    return [
        package.__name__,
        *(m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")),
    ]


def test_runtime_and_records_import_nothing_heavy():
    modules = modules_of(edgesmith.runtime) + modules_of(edgesmith.records)
    assert {"edgesmith.runtime.onnxruntime", "edgesmith.records.plan"} <= set(modules)
    code = f"import sys, {', '.join(modules)}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=CHILD_ENVIRONMENT)
    assert done.stdout.split() == []
