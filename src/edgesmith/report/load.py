"""A finished run folder, read back."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from edgesmith.errors import RecipeError
from edgesmith.recipe import Recipe
from edgesmith.records import (
    STEP_RECORD_NAME,
    Candidate,
    Environment,
    Latencies,
    Plan,
    StepRecord,
    Verdict,
    from_dict,
    read_json,
)

RECIPE_NAME = "recipe.resolved.yaml"
VERDICT_NAME = "verdict.json"
MARKDOWN_NAME = "report.md"
HTML_NAME = "report.html"
WEIGHTS_NAME = "model/model.safetensors"
ANALYZE_STEP = "01-analyze"
PRUNE_STEP = "03-prune"
QUANTIZE_STEP = "04-quantize"
EXPORT_STEP = "05-export"
VALIDATE_STEP = "06-validate"
SAMPLES = ("artifact", "fp32", "int8", "eager")


def export_step(candidate: str, runtime: str) -> str:
    """Folder of a candidate's file for a runtime."""
    return f"{EXPORT_STEP}/{candidate}-{runtime}"


def plan_name(runtime: str) -> str:
    """File of a runtime's precision plan, in the folder of step 4."""
    return f"plan-{runtime}.json"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a report is made of.

    Attributes:
        steps: record by folder relative to the run, such as ``03-prune/half``, in the order of the steps.
        plan: of the chosen candidate on the verdict's runtime; None where nothing was quantized.
        latencies: all artifacts of the interleaved run, from the facts of ``06-validate``.
        int8_model_size_bytes: weights and graph of the teacher quantized only; from the same facts.
        teacher_parts: component of the teacher -> parameters, from the facts of ``01-analyze``.
        teacher_validation_quality: from the same facts.
        weight_bytes: folder of a step -> bytes of the FP32 weights it left; without those that were removed since.
        tensors: of the chosen candidate after pruning: name -> shape; empty where its weights were removed since.
    """

    path: Path
    recipe: Recipe
    environment: Environment
    verdict: Verdict
    steps: dict[str, StepRecord]
    candidates: tuple[Candidate, ...]
    plan: Plan | None
    latencies: Latencies
    int8_model_size_bytes: int
    teacher_parts: dict[str, int]
    teacher_validation_quality: float
    weight_bytes: dict[str, int]
    tensors: dict[str, tuple[int, ...]]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """One for each runtime, the answer first."""
        return (self.verdict, *self.verdict.alternatives)


def load_run(path: str | Path) -> Run:
    """Reads a run folder.

    Raises:
        RecipeError: no run folder, a run that is not finished, or a file of it that is missing or damaged.
    """
    path = Path(path)
    steps = _steps(path)
    _check_finished(path, steps)
    candidates = _candidates(path / "candidates.json")
    verdict = read_json(Verdict, path / VERDICT_NAME)
    latencies, int8_model_size_bytes = _validate_facts(path, steps, verdict.runtime)
    parts, teacher_validation_quality = _analyze_facts(path, steps)
    return Run(
        path=path,
        recipe=Recipe.load(path / RECIPE_NAME),
        environment=read_json(Environment, path / "environment.json"),
        verdict=verdict,
        steps=steps,
        candidates=candidates,
        plan=_plan(path, candidates, verdict.runtime),
        latencies=latencies,
        int8_model_size_bytes=int8_model_size_bytes,
        teacher_parts=parts,
        teacher_validation_quality=teacher_validation_quality,
        weight_bytes=_weight_bytes(path, steps),
        tensors=_tensors(path, candidates),
    )


def _steps(path: Path) -> dict[str, StepRecord]:
    """Records of the steps, and of their candidates where a step has a folder for each."""
    pattern = "[0-9][0-9]-*"
    files = [*path.glob(f"{pattern}/{STEP_RECORD_NAME}"), *path.glob(f"{pattern}/*/{STEP_RECORD_NAME}")]
    return {
        file.parent.relative_to(path).as_posix(): read_json(StepRecord, file)
        for file in sorted(files, key=lambda file: file.parent.parts)
    }


def _check_finished(path: Path, steps: dict[str, StepRecord]) -> None:
    if not (path / RECIPE_NAME).is_file():
        raise RecipeError(
            f"{path} is not a run folder: it has no {RECIPE_NAME}. "
            "Give the folder that `edgesmith compress -o` wrote."
        )
    if not (path / VERDICT_NAME).is_file():
        raise RecipeError(
            f"{path} is not finished: it has no {VERDICT_NAME}; finished steps: {', '.join(steps) or 'none'}. "
            f"Resume it with: edgesmith run {path / RECIPE_NAME} -o {path}"
        )


def _candidates(file: Path) -> tuple[Candidate, ...]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{file}: no such file. The run is damaged; run it again.") from None
    except ValueError as problem:
        raise RecipeError(f"{file}: not valid JSON ({problem}). The run is damaged; run it again.") from None
    if not isinstance(rows, list):
        raise RecipeError(f"{file}: expected a list of candidates, got {type(rows).__name__}.")
    return tuple(from_dict(Candidate, row, where=f"{file}[{i}]") for i, row in enumerate(rows))


def _plan(path: Path, candidates: tuple[Candidate, ...], runtime: str) -> Plan | None:
    for candidate in candidates:
        file = path / QUANTIZE_STEP / candidate.name / plan_name(runtime)
        if candidate.chosen and file.is_file():
            return read_json(Plan, file)
    return None


def _weight_bytes(path: Path, steps: Iterable[str]) -> dict[str, int]:
    files = {step: path / step / WEIGHTS_NAME for step in steps}
    return {step: file.stat().st_size for step, file in files.items() if file.is_file()}


def _tensors(path: Path, candidates: tuple[Candidate, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes from the header of the file; the weights themselves are not read."""
    for file in [path / PRUNE_STEP / row.name / WEIGHTS_NAME for row in candidates if row.chosen]:
        if file.is_file():
            with safe_open(file, framework="numpy") as weights:
                return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    return {}


def _analyze_facts(path: Path, steps: dict[str, StepRecord]) -> tuple[dict[str, int], float]:
    """The teacher's components with their parameters, and its quality on validation rows."""
    facts = steps[ANALYZE_STEP].facts if ANALYZE_STEP in steps else {}
    expected = {
        "parts": isinstance(facts.get("parts"), list),
        "teacher_validation_quality": isinstance(facts.get("teacher_validation_quality"), float),
    }
    place = f"{path / ANALYZE_STEP / STEP_RECORD_NAME}: facts"
    _check_present([key for key, is_there in expected.items() if not is_there], place, ANALYZE_STEP, facts)
    return {part["name"]: part["parameters"] for part in facts["parts"]}, facts["teacher_validation_quality"]


def _validate_facts(path: Path, steps: dict[str, StepRecord], runtime: str) -> tuple[Latencies, int]:
    """Latencies of all that was timed, and the INT8 teacher's bytes, which the verdict has no place for."""
    runtimes = steps[VALIDATE_STEP].facts.get("runtimes", {}) if VALIDATE_STEP in steps else {}
    facts = runtimes.get(runtime, {}) if isinstance(runtimes, dict) else {}
    expected = {
        "latencies": isinstance(facts.get("latencies"), dict),
        "int8_model_size_bytes": isinstance(facts.get("int8_model_size_bytes"), int),
    }
    place = f"{path / VALIDATE_STEP / STEP_RECORD_NAME}: facts.runtimes.{runtime}"
    _check_present([key for key, is_there in expected.items() if not is_there], place, VALIDATE_STEP, facts)
    latencies = from_dict(Latencies, facts["latencies"], where=f"{place}.latencies")
    missing = [name for name in SAMPLES if name not in latencies.samples]
    _check_present(missing, f"{place}.latencies.samples", VALIDATE_STEP, latencies.samples)
    return latencies, facts["int8_model_size_bytes"]


def _check_present(missing: list[str], place: str, step: str, found: Iterable[str]) -> None:
    if missing:
        raise RecipeError(
            f"{place} lack {', '.join(missing)}; found: {', '.join(found) or 'none'}. "
            f"Remove the folder {step} and run again."
        )
