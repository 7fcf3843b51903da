"""`edgesmith prune` with a smaller word table, and with a recovery after its cuts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from fixtures_models import tiny_mobilebert
from fixtures_pipeline import CHILD, Listener
from fixtures_text import minilm_folder
from safetensors.torch import load_file
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer

from edgesmith.cli import main
from edgesmith.compress import training
from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.models import shape_of
from edgesmith.pipeline import distill, finetune, prune, steps
from edgesmith.recipe import CutConfig, DataConfig, Recipe, StudentConfig
from edgesmith.records import Pruning, from_dict

TEXTS = ["a quiet film", "Zürich's naïve façade, 42 %", "☃ unseen ideographs 漢字"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prune", *map(str, arguments)], prog_name="edgesmith")


@pytest.fixture(scope="module")
def taught(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe whose model has learnt the task; a recovery is short."""
    out = tmp_path_factory.mktemp("taught") / "model"
    finetune(recipe, out, Listener())
    recovery = replace(recipe.prune.recovery, epochs=1.0, evaluations=2, learning_rate=2e-3)
    return replace(recipe, model=str(out), prune=replace(recipe.prune, recovery=recovery))


CUT = CutConfig(
    macs=0.5, vocabulary="letters", embedding=0.3, importance_rows=64, tuning_rows=32, schedule="one-shot"
)


@pytest.fixture(scope="module")
def recovered(taught: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pruning]:
    out = tmp_path_factory.mktemp("recovered") / "small"
    return out, prune(taught, CUT, out, Listener())


def test_units_and_word_table_go_and_the_rest_learns(taught, recovered):
    out, found = recovered
    assert list(found.quality) == ["before", "search", "rearrangement", "tuning", "embedding", "recovery"]
    assert found.quality["recovery"] > found.quality["before"] - 0.1  # of 100 rows
    assert found.agreement["recovery"] > 0.8
    assert (found.schedule, found.epochs, found.earlier) == ("one-shot", 1.0, ())
    model = AutoModelForSequenceClassification.from_pretrained(out)
    shape = shape_of(model.config)
    assert found.parameters_after == sum(weight.numel() for weight in model.parameters())
    assert found.macs_after <= 0.5 * found.macs_before
    before, after = found.table
    assert before == found.vocabulary[0] * 64  # rows by hidden units
    assert after == shape.vocab * shape.embedding_rank + 64 * shape.embedding_rank <= 0.3 * before
    assert found.vocabulary[1] == shape.vocab == len(AutoTokenizer.from_pretrained(out)) < found.vocabulary[0]
    assert shape.positions == taught.data.max_length
    assert found.coverage.rows == 100
    assert found.coverage.tokens <= found.coverage.tokens_after < 1.5 * found.coverage.tokens


def test_a_new_process_opens_it_and_answers_the_same(recovered, tmp_path):
    """Texts of characters and words that no training row has are among them."""
    out, _ = recovered
    code = (
        "import sys, json, torch, edgesmith.models\n"
        "from transformers import AutoModelForSequenceClassification as M, AutoTokenizer as T\n"
        "model, tokenizer = M.from_pretrained(sys.argv[1]).eval(), T.from_pretrained(sys.argv[1])\n"
        "inputs = tokenizer(json.loads(sys.argv[2]), padding=True, return_tensors='pt')\n"
        "with torch.no_grad(): print(json.dumps(model(**inputs).logits.tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out), json.dumps(TEXTS)],
        env=CHILD, capture_output=True, text=True, check=True,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_pretrained(out).eval()
    inputs = AutoTokenizer.from_pretrained(out)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        ours = model(**inputs).logits
    assert np.allclose(json.loads(done.stdout.splitlines()[-1]), ours.numpy(), atol=1e-6)


def test_a_killed_recovery_goes_on_to_the_same_weights(taught, recovered, tmp_path, monkeypatch):
    out, progress = tmp_path / "again", Listener()
    whole = training._ProgressCallback.on_step_end

    def stop(self, args, state, control, **more):
        whole(self, args, state, control, **more)
        if state.global_step == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(training._ProgressCallback, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        prune(taught, CUT, out, progress)
    assert not out.exists()
    monkeypatch.setattr(training._ProgressCallback, "on_step_end", whole)
    assert prune(taught, CUT, out, progress).quality == recovered[1].quality
    assert any(line.startswith("01-prune: already done") for line in progress.lines)
    assert any("going on from checkpoint" in line for line in progress.lines)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (out, recovered[0]))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_gradual_schedule_cuts_twice_and_numbers_units_as_the_whole_model(taught, tmp_path):
    done = call(
        taught.model, "--data", taught.data.path, "--max-length", taught.data.max_length, "--macs", "40%", "--rows", 64,
        "--recover", "gradual", "--set", "prune.recovery.epochs=0.6", "--set", "prune.recovery.batch_size=16",
        "-o", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = from_dict(Pruning, json.loads(done.stdout))
    (first,) = found.earlier
    assert found.schedule == "gradual"
    assert (first.epochs, found.epochs) == pytest.approx((0.2, 0.4))
    assert first.macs_before == found.macs_before and found.parameters_before == first.parameters_before
    assert found.macs_after <= 0.4 * found.macs_before < first.macs_after <= 0.4**0.5 * found.macs_before
    assert found.quality["before"] == first.quality["recovery"]
    for kept, earlier in zip(found.kept, first.kept, strict=True):
        assert (kept.name, kept.units) == (earlier.name, earlier.units)
        assert set(kept.indices) <= set(earlier.indices)


def test_what_was_learnt_is_printed(taught, tmp_path):
    """A word table alone shrinks at once, whatever the schedule."""
    done = call(
        taught.model, "--data", taught.data.path, "--max-length", taught.data.max_length, "--embedding", "30%",
        "--recover", "gradual", "--set", "prune.recovery.epochs=0.2", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "after the word table shrank" in words and "after recovery" in words
    assert "0.20 epochs of learning from the whole model" in words and "weights of the word table" in words


def test_a_time_limit_leaves_as_many_epochs_as_fit(taught, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "seconds_an_epoch", lambda *args, **more: 100.0)
    cut = replace(CUT, vocabulary=None, embedding=None, time_limit_s=60.0, tuning_rows=0)
    progress = Listener()
    found = prune(taught, cut, tmp_path / "out", progress)
    assert 0.4 < found.epochs < 0.6  # the rest goes to evaluations
    assert any("of 1 epochs fit into 60 s" in line for line in progress.lines)
    with pytest.raises(RecipeError, match=r"--time-limit 4s is too short.*Type: --time-limit 1min"):
        prune(taught, replace(cut, time_limit_s=4.0), tmp_path / "short", progress)
    assert not (tmp_path / "short").exists()


def test_steps_are_timed_on_a_copy(taught):
    """The second half of a recovery's time is known before it begins, and nothing has changed."""
    from edgesmith.pipeline.bench import Workbench
    from edgesmith.pipeline.tasks import open_task

    opened = open_task(taught)
    bench = Workbench(taught, opened.modality, opened.model, Path(taught.model), Listener())
    student = bench.modality.compact(bench.model)
    before = {name: weight.clone() for name, weight in student.state_dict().items()}
    found = steps.seconds_an_epoch(bench, student, taught.prune.recovery, trimmed=False)
    assert 0 < found < 300
    assert all(torch.equal(weight, before[name]) for name, weight in student.state_dict().items())
    assert all(weight.grad is None for weight in student.parameters())


def test_images_recover_too(image_recipe, headless_vit, tmp_path):
    """A plain ViT can be pruned and taught, and be the teacher of a shallower one."""
    taught = replace(image_recipe, model=str(tmp_path / "tuned"))
    finetune(replace(image_recipe, model=str(headless_vit)), tmp_path / "tuned", Listener())
    cut = CutConfig(macs=0.25, importance_rows=64, tuning_rows=0, schedule="one-shot")
    found = prune(taught, cut, tmp_path / "pruned", Listener())
    assert found.quality["recovery"] > found.quality["rearrangement"]
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "pruned")
    assert type(model).__name__ == found.model_class == "CompactVitForImageClassification"
    shallow = distill(taught, StudentConfig(layers=1), tmp_path / "shallow", Listener())
    assert shallow.teacher_quality == found.quality["before"]
    with pytest.raises(RecipeError, match="--vocabulary is letters; images have no word table"):
        prune(taught, CUT, tmp_path / "words", Listener())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--embedding", "0.5%"], "--embedding 0.5% is less than a word table of"),
        (["--embedding", "120%"], "embedding is 1.2; allowed: above 0, and at most 1"),
        (["--vocabulary", "words"], "vocabulary"),
        (["--macs", "50%", "--recover", "twice"], "one-shot"),
        (["--macs", "50%", "--time-limit", "30min"], "Add --recover"),
        (["--macs", "50%", "--recover", "one-shot", "--time-limit", "soon"], "Example: --time-limit 30min"),
        (["--vocabulary", "texts", "--set", "prune.vocabulary_size=5"], "prune.vocabulary_size is 5; allowed:"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(options, text, taught, tmp_path):
    done = call(taught.model, "--data", taught.data.path, *options, "-o", tmp_path / "out")
    assert done.exit_code == 2, done.stderr
    assert text in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_compact_form_cannot_recover(data, tmp_path):
    tiny_mobilebert().save_pretrained(tmp_path / "mobile")
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(tmp_path / "mobile")
    recipe = Recipe(model=str(tmp_path / "mobile"), data=DataConfig(path=str(data)))
    with pytest.raises(UnsupportedError, match="has no compact form"):
        prune(recipe, replace(CUT, vocabulary=None, embedding=None), tmp_path / "out", Listener())
