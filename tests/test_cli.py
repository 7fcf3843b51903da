"""argv -> recipe -> exit code. The pipeline is replaced only to raise: the seam under test is the door."""

from __future__ import annotations

import dataclasses
import errno
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

import edgesmith
from edgesmith import errors
from edgesmith.cli import main
from edgesmith.cli.options import QUICK, build_recipe, default_output
from edgesmith.recipe import DataConfig, Recipe
from edgesmith.records import FailedBudget, Percentiles, Verdict

COMMANDS = [
    "compress",
    "run",
    "plan",
    "report",
    "evaluate",
    "strings",
    "export",
    "finetune",
    "targets",
    "analyze",
    "recommend",
    "distill",
    "doctor",
    "models",
    "compare",
    "bench",
    "prune",
    "sensitivity",
    "quantize",
]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="edgesmith")


def saved(tmp_path: Path, *arguments: str) -> Recipe:
    """The recipe that `compress` with these options would carry out."""
    file = tmp_path / "recipe.yaml"
    done = call("compress", "m", "--data", "d", "--save-recipe", str(file), *arguments)
    assert done.exit_code == 0, done.stderr
    return Recipe.load(file)


def replace_pipeline(
    monkeypatch: pytest.MonkeyPatch, outcome: BaseException | Verdict
) -> list[tuple[Recipe, Path]]:
    """A pipeline that ends with `outcome`; returns the list of what it is called with."""
    calls: list[tuple[Recipe, Path]] = []

    def compress(recipe: Recipe, out: Path, progress: object) -> Verdict:
        calls.append((recipe, out))
        print("a library talks on stdout")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    module = ModuleType("edgesmith.pipeline")
    module.compress = compress  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgesmith.pipeline", module)
    monkeypatch.setitem(vars(edgesmith), "pipeline", module)
    return calls


def verdict(*, passed: bool) -> Verdict:
    times = Percentiles(p50=1.0, p90=2.0, p99=3.0)
    failed = FailedBudget(
        budget="max_drop", limit=0.01, value=0.02, unit="fraction", message="drop 2 % > 1 %."
    )
    return Verdict(
        passed=passed, failed_budgets=() if passed else (failed,), failed_guards=(), task="text-classification",
        metric="accuracy", teacher=0.9, artifact=0.88, n_test=100, drop=0.02, drop_ci95=(0.0, 0.04), mcnemar_p=0.5,
        agreement=0.95, test_is_held_out=True, validation_drop=0.01, runtime="onnxruntime", target="host",
        bundle="bundle/onnxruntime", size_bytes=2, model_size_bytes=1, baseline_size_bytes=10, size_ratio=10.0,
        latency_ms=times, baseline_latency_ms=times, latency_ratio=1.0, int8_latency_ratio=1.0,
        eager_latency_ratio=1.0, int8_baseline=0.9, bow_baseline=0.8, threads=1, rounds=1, load_ms=1.0,
        peak_rss_bytes=1, wall_s={},
    )  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_with_an_example(command: str) -> None:
    done = call(command, "--help")
    assert done.exit_code == 0
    assert f"edgesmith {command}" in done.stdout


def test_help_lists_every_command() -> None:
    assert sorted(main.commands) == sorted(COMMANDS)
    assert all(command in call("--help").stdout for command in COMMANDS)


def test_version() -> None:
    assert edgesmith.__version__ in call("--version").stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["compress", "m"], "Missing option '--data'"),
        (["compress", "--data", "d"], "Missing argument 'MODEL'"),
        (["compress", "m", "--data", "d", "--max-dorp", "1%"], "--max-drop"),
        (["compress", "m", "--data", "d", "--seed", "x"], "'x' is not a valid integer"),
        (["compres"], "compress"),
        (["plan"], "either MODEL or --recipe"),
        (["plan", "m", "--recipe", "r.yaml"], "either MODEL or --recipe"),
        (["compress", "m", "--data", "d", "--max-size", "8"], "Example: --max-size 8MB"),
        (["compress", "m", "--data", "d", "--max-drop", "200%"], "max_drop is 2.0"),
        (["compress", "m", "--data", "d", "--target", "rasberry-pi-5"], "Did you mean 'raspberry-pi-5'"),
        (["compress", "m", "--data", "d", "--runtime", "onnx"], "unknown value 'onnx'"),
        (["compress", "m", "--data", "d", "--set", "distil.epochs=3"], "Did you mean 'distill'"),
        (["compress", "m", "--data", "d", "--set", "distill.epoch=3"], "Did you mean 'epochs'"),
        (["compress", "m", "--data", "d", "--set", "prune.recovery.epoch=3"], "prune.recovery: unknown key"),
        (["compress", "m", "--data", "d", "--set", "distill.epochs"], "expected KEY=VALUE"),
        (["compress", "m", "--data", "d", "--set", "=3"], "expected KEY=VALUE"),
        (["compress", "m", "--data", "d", "--set", "distill.epochs=["], "not a YAML value"),
        (["compress", "m", "--data", "d", "--set", "seed.x=1", "--seed", "1"], "seed is a value"),
        (["compress", "m", "--data", "d", "--set", "distill=3"], "distill: expected a mapping, got int 3"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such recipe file"),
        (["plan", "--recipe", "nowhere.yaml"], "nowhere.yaml: no such recipe file"),
        (["targets", "show", "hosts"], "Did you mean 'host'"),
    ],
)
def test_usage_and_recipe_errors_exit_2_and_say_what_is_allowed(arguments: list[str], text: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert text in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_options_become_the_recipe(tmp_path: Path) -> None:
    recipe = saved(
        tmp_path, "--max-drop", "2%", "--max-size", "8MB", "--max-latency", "10ms", "--confident", "--text-column", "t",
        "--pair-column", "p", "--label-column", "l", "--max-length", "64", "--max-rows", "500", "--seed", "7",
        "--target", "raspberry-pi-5", "--tokenizer", "words",
    )  # fmt: skip
    assert recipe.tokenizer == "words"
    assert (recipe.model, recipe.target, recipe.seed, recipe.quick) == ("m", "raspberry-pi-5", 7, False)
    assert recipe.data == DataConfig(path="d", text="t", pair="p", label="l", max_length=64, max_rows=500)
    budget = recipe.budget
    assert (budget.max_drop, budget.max_size_bytes, budget.max_latency_ms) == (0.02, 8_000_000, 10.0)
    assert budget.confident


def test_without_options_the_recipe_is_the_default(tmp_path: Path) -> None:
    assert saved(tmp_path) == Recipe(model="m", data=DataConfig(path="d"))


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("distill.epochs=3", lambda recipe: recipe.distill.epochs, 3.0),
        ("distill.learning_rate=5e-5", lambda recipe: recipe.distill.learning_rate, 5e-5),
        ("prune.recovery.temperature=1.5", lambda recipe: recipe.prune.recovery.temperature, 1.5),
        ("budget.confident=true", lambda recipe: recipe.budget.confident, True),
        ("data.max_rows=null", lambda recipe: recipe.data.max_rows, None),
        ("data.text=a=b", lambda recipe: recipe.data.text, "a=b"),
    ],
)
def test_set_reaches_every_key(assignment: str, read: object, value: object, tmp_path: Path) -> None:
    assert callable(read)
    assert read(saved(tmp_path, "--set", assignment)) == value


def test_the_later_word_wins_quick_then_options_then_set(tmp_path: Path) -> None:
    assert saved(tmp_path, "--quick").data.max_rows == QUICK["data.max_rows"]
    assert saved(tmp_path, "--quick").quick
    assert saved(tmp_path, "--quick", "--max-rows", "100").data.max_rows == 100
    assert saved(tmp_path, "--quick", "--max-rows", "100", "--set", "data.max_rows=90").data.max_rows == 90


def test_options_change_a_recipe_that_was_read() -> None:
    base = Recipe(model="m", data=DataConfig(path="d"), seed=3)
    assert build_recipe({}, (), base) == base
    assert build_recipe({"seed": 4}, ("distill.epochs=9",), base) == dataclasses.replace(
        base, seed=4, distill=dataclasses.replace(base.distill, epochs=9.0)
    )


def test_default_output_names_model_and_data(tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    file.touch()
    assert default_output(Recipe(model="org/bert-1.5", data=DataConfig(path=str(file)))) == Path(
        "runs/bert-1.5-reviews"
    )
    assert (
        default_output(Recipe(model="x/m", data=DataConfig(path=str(tmp_path)))).name == f"m-{tmp_path.name}"
    )


ERRORS = [
    (errors.EdgesmithError("x"), 1),
    (errors.RecipeError("x"), 2),
    (errors.DataError("x"), 2),
    (errors.ModelError("x"), 2),
    (errors.BundleError("x"), 2),
    (errors.MissingExtraError("onnxruntime", "onnxruntime"), 3),
    (errors.UnsupportedError("x"), 3),
    (errors.StepError("x"), 1),
    (errors.ExportError("x"), 1),
    (errors.ParityError("x"), 1),
    (errors.MeasureError("x"), 1),
    (errors.BoardError("x"), 1),
    (errors.BudgetError("x"), 4),
]


def test_every_error_of_the_tree_is_tried() -> None:
    tree = {item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)}
    assert {type(error) for error, _ in ERRORS} == tree


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_leaves_as_one_line_and_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_pipeline(monkeypatch, error)
    done = call("compress", "m", "--data", "d", "--quiet")
    assert done.exit_code == code
    assert done.stderr.splitlines()[-1] == f"error: {error}"
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_what_an_error_took_along_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, text in (
        (errors.BoardError("x"), "error: x"),
        (KeyboardInterrupt(), "stopped; the same command resumes."),
    ):
        error.add_note("Something remains.")
        replace_pipeline(monkeypatch, error)
        done = call("compress", "m", "--data", "d", "--quiet")
        assert done.stderr.splitlines()[-1] == f"{text} Something remains."


def test_one_of_several_processes_is_refused_before_it_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = call("compress", "m", "--data", "d", "-o", str(tmp_path / "run"))
    assert done.exit_code == 3
    assert "one of 2 processes (WORLD_SIZE); allowed: 1. Type the same line without torchrun" in done.stderr
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert call("targets").exit_code == 0


def test_a_text_of_several_lines_leaves_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pipeline(monkeypatch, errors.DataError("first\nsecond"))
    assert call("compress", "m", "--data", "d").stderr.splitlines()[-1] == "error: first second"


def test_an_unexpected_error_exits_1_and_says_how_to_get_the_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_pipeline(monkeypatch, ZeroDivisionError("division by zero"))
    done = call("compress", "m", "--data", "d")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("error: internal: ZeroDivisionError: division by zero.")
    assert "--debug" in done.stderr and "Traceback" not in done.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pipeline(monkeypatch, errors.StepError("prune: layer 3"))
    done = call("compress", "m", "--data", "d", "--debug")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr and "StepError" in done.stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "error: runs/x: Permission denied."),
        (
            OSError(errno.ENOSPC, "No space left on device", "model.onnx"),
            "error: model.onnx: No space left on device.",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "Free some space; the same command resumes."),
    ],
)
def test_a_refused_file_is_named(error: OSError, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pipeline(monkeypatch, error)
    done = call("compress", "m", "--data", "d")
    assert done.exit_code == 1
    assert text in done.stderr.splitlines()[-1]


def test_a_recipe_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call("compress", "m", "--data", "d", "--save-recipe", str(tmp_path / "file" / "recipe.yaml"))
    assert done.exit_code == 1
    assert str(tmp_path / "file") in done.stderr


def test_a_stop_says_that_the_run_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pipeline(monkeypatch, KeyboardInterrupt())
    done = call("compress", "m", "--data", "d")
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "stopped; the same command resumes."


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 4)])
def test_json_is_all_of_stdout_and_the_exit_code_is_the_verdict(
    passed: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_pipeline(monkeypatch, verdict(passed=passed))
    done = call("compress", "m", "--data", "d", "--json")
    assert json.loads(done.stdout)["passed"] is passed
    assert "a library talks" in done.stderr
    assert done.exit_code == code


def test_a_missed_budget_says_by_what_and_where_the_best_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_pipeline(monkeypatch, verdict(passed=False))
    done = call("compress", "m", "--data", "d", "-o", "runs/x", "--quiet")
    assert done.stdout == "FAIL runs/x\n"
    assert "drop 2 % > 1 %. The best artifact found is in runs/x/bundle/onnxruntime." in done.stderr


def test_run_carries_out_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = saved(tmp_path, "--max-size", "8MB")
    calls = replace_pipeline(monkeypatch, verdict(passed=True))
    assert call("run", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "out"), "--quiet").exit_code == 0
    assert call("run", str(tmp_path / "recipe.yaml"), "--seed", "5", "--quiet").exit_code == 0
    assert calls == [
        (recipe, tmp_path / "out"),
        (dataclasses.replace(recipe, seed=5), Path("runs/m-d")),
    ]


def test_report_of_no_run_exits_2(tmp_path: Path) -> None:
    done = call("report", str(tmp_path))
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr


def test_evaluate_of_no_bundle_exits_2(tmp_path: Path) -> None:
    done = call("evaluate", str(tmp_path), "--data", "d.csv")
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr
