# make help lists the targets. Everything is installed into .venv; nothing else is touched.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
TORCH := $(shell grep '^torch==' constraints.txt)
# A file a worker: tests of one file share models and finished runs.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
QUICK := not slow and not gpu and not device and not arm

.PHONY: help demo test test-slow test-arm bench check clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

demo: .venv/.stamp-demo  ## compress a prompt-injection guard and print its verdict (DEMO_QUICK=1: a first look)
	$(BIN)/python examples/prompt_injection_guard.py

test: .venv/.stamp-test  ## run the tests that need no GPU, no board and little time
	$(PYTEST) -m "$(QUICK)"

test-slow: .venv/.stamp-test  ## run the tests that take minutes
	$(PYTEST) -m "slow and not gpu and not device and not arm"

test-arm: .arm/.stamp .venv/.stamp-test  ## run bundles on emulated Arm processors: right answers, no times
	$(BIN)/python -m pytest -m arm

bench: .venv/.stamp-test  ## measure what the README states
	$(BIN)/python benchmarks/sst2.py
	$(BIN)/python benchmarks/demo_seeds.py
	$(BIN)/python benchmarks/tasks.py sts-b squad
	$(BIN)/python benchmarks/pruning.py
	$(BIN)/python benchmarks/quantization.py --timed --walls
	$(BIN)/python benchmarks/distillation.py
	$(BIN)/python benchmarks/training.py
	-$(BIN)/python benchmarks/latency_model.py
	$(BIN)/python benchmarks/utilisation.py
	$(BIN)/python benchmarks/deadlines.py
	$(BIN)/python benchmarks/zoo.py
	-$(BIN)/python benchmarks/open_loop.py runs/sst2/bundle/onnxruntime
	-$(BIN)/python benchmarks/bench_itself.py runs/sst2/bundle/onnxruntime

check: .venv/.stamp-dev  ## lint, format, types and tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PYTEST) -m "$(QUICK)"

clean:  ## remove the environment, caches and runs
	rm -rf .arm .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist runs

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or later is needed (with venv); found none. Type: make PYTHON=path" >&2; exit 1; }
	$(PYTHON) -m venv .venv

# torch first, in its pinned version: left to the resolver it would bring gigabytes of GPU libraries.
.venv/.stamp-%: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

.arm/.stamp: tests/arm_prefix.py constraints.txt | .venv/bin/python
	$(BIN)/python tests/arm_prefix.py
	touch $@
