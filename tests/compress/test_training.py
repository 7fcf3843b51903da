from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures_models import tiny_compact, toy_rows
from transformers import TrainerCallback

from edgesmith.compress.distill import predict_logits
from edgesmith.compress.losses import consistency_loss
from edgesmith.compress.training import (
    ConsistentLabels,
    _best,
    _LengthGroupedEpochs,
    hard_label_loss,
    kept_score,
    train,
)
from edgesmith.data.examples import IGNORED_LABEL
from edgesmith.errors import RecipeError, StepError
from edgesmith.models.compact import label_loss
from edgesmith.recipe import TrainingConfig
from edgesmith.records import SilentProgress
from edgesmith.runtime.judge import ACCURACY

CONFIG = TrainingConfig(epochs=3, learning_rate=1e-2, batch_size=16, evaluations=4)
STEPS = 3 * 10  # 160 rows by 16, three times: evaluated at 8, 16, 24 and, since that is the end, 30


class Listener(SilentProgress):
    """Notes what it is told, and pulls the plug after a given step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.titles: list[tuple[str, int]] = []
        self.steps: list[tuple[int, str]] = []
        self.said: list[str] = []
        self.finished = 0
        self._stop_after = stop_after

    def start(self, title: str, total: int) -> None:
        self.titles.append((title, total))

    def advance(self, done: int, note: str = "") -> None:
        self.steps.append((done, note))
        if done == self._stop_after:
            raise KeyboardInterrupt

    def finish(self) -> None:
        self.finished += 1

    def say(self, text: str) -> None:
        self.said.append(text)


class Recorder:
    """The cross-entropy, which notes the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def __call__(self, model, batch):
        loss, output = hard_label_loss(model, batch)
        self.losses.append(loss.item())
        return loss, output


def run(folder, progress=None, *, seed=0, loss=hard_label_loss, config=CONFIG, dropout=0.1):
    model = tiny_compact(type_vocab_size=0, hidden_dropout_prob=dropout)
    rows, validation = toy_rows(160, seed=1), toy_rows(40, seed=2)
    result = train(
        model,
        rows,
        validation,
        config,
        folder=folder,
        seed=seed,
        progress=progress or Listener(),
        title="learning",
        loss=loss,
    )
    return model, result, validation


def accuracy_of(model, rows) -> float:
    return float((predict_logits(model, rows).argmax(-1) == torch.tensor(rows.labels)).float().mean())


def test_two_passes_differ_by_their_dropout_alone():
    rows = toy_rows(12, seed=1)
    batch = rows.collate([rows[index] for index in range(12)])
    for dropout in (0.0, 0.5):
        model = tiny_compact(type_vocab_size=0, hidden_dropout_prob=dropout).train()
        torch.manual_seed(0)
        alone, output = ConsistentLabels(0.0)(model, batch)
        torch.manual_seed(0)
        total, _ = ConsistentLabels(3.0)(model, batch)
        first, second = output.logits.chunk(2)
        torch.testing.assert_close(total, alone + 3 * consistency_loss(first, second))
        assert (total > alone) == bool(dropout)  # without dropout both passes are the same
        whole = (label_loss(first, batch["labels"]) + label_loss(second, batch["labels"])) / 2
        torch.testing.assert_close(alone, whole)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Weights, result, validation rows, listener, folder and losses of a whole run."""
    listener, folder, recorder = Listener(), tmp_path_factory.mktemp("whole") / "checkpoints", Recorder()
    model, result, validation = run(folder, listener, loss=recorder)
    return model, result, validation, listener, folder, recorder.losses


def test_a_separable_task_is_learnt(uninterrupted):
    model, result, validation, *_ = uninterrupted
    assert result.score >= 0.9
    assert accuracy_of(model, validation) == pytest.approx(result.score)
    assert not model.training
    assert result.steps == STEPS
    assert result.wall_s > 0


def test_the_curve_ends_on_the_last_step(uninterrupted):
    assert [step for step, _ in uninterrupted[1].curve] == [8, 16, 24, 30]


def test_progress_is_told_at_every_step(uninterrupted):
    _, result, _, listener, *_ = uninterrupted
    assert listener.titles == [("learning", STEPS)]
    assert [step for step, _ in listener.steps] == list(range(1, STEPS + 1))
    assert listener.steps[9][1] == f"validation accuracy {result.curve[0][1]:.4f}"
    assert listener.finished == 1


def test_the_checkpoints_are_removed(uninterrupted):
    assert not uninterrupted[4].exists()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(uninterrupted, tmp_path):
    expected = uninterrupted[0].state_dict()
    same, _, _ = run(tmp_path / "same")
    assert all(torch.equal(value, expected[name]) for name, value in same.state_dict().items())
    other, _, _ = run(tmp_path / "other", seed=1)
    assert not torch.equal(other.classifier.weight, expected["classifier.weight"])


@pytest.mark.parametrize("stop_after", [12, 24])
def test_an_interrupted_run_goes_on_to_the_same_weights(uninterrupted, tmp_path, stop_after):
    """Bitwise on a CPU, dropout included. Steps 12 and 24 fall into the second and third of three epochs of ten."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Listener(stop_after))
    assert len(list(tmp_path.glob("checkpoint-*"))) <= 2  # the best and the last
    listener, recorder = Listener(), Recorder()
    model, result, _ = run(tmp_path, listener, loss=recorder)
    expected = uninterrupted[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    assert result.curve == uninterrupted[1].curve
    first = {12: 9, 24: 17}[stop_after]
    assert listener.steps[0][0] == first
    assert recorder.losses == uninterrupted[5][first - 1 :]
    assert listener.said == [f"learning: going on from checkpoint-{first - 1}"]


def test_a_half_written_checkpoint_is_passed_over(uninterrupted, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Listener(12))
    (tmp_path / "checkpoint-16").mkdir()
    (tmp_path / "checkpoint-16" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoint-24").mkdir()
    (tmp_path / "checkpoint-24" / "trainer_state.json").write_text('{"global_step": 2')
    listener = Listener()
    model, _, _ = run(tmp_path, listener)
    assert listener.steps[0][0] == 9
    assert torch.equal(model.classifier.weight, uninterrupted[0].classifier.weight)


def test_the_best_checkpoint_is_restored(tmp_path):
    """After step 8 the loss is turned around, so that the last weights are the worst."""
    steps = []

    def loss(model, batch):
        steps.append(1)
        value, output = hard_label_loss(model, batch)
        return (value if len(steps) <= 8 else -value), output

    model, result, validation = run(tmp_path, loss=loss, dropout=0.0)
    assert result.curve[-1][1] < result.score == max(accuracy for _, accuracy in result.curve)
    assert accuracy_of(model, validation) == pytest.approx(result.score)


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ((0.90, 0.959, 0.94), 0.94),  # 1.645 standard errors are 0.0195 on 400 rows
        ((0.90, 0.960, 0.94), 0.960),
        ((0.90, 0.94), 0.94),
        ((0.9, 1.0), 1.0),
    ],
)
def test_the_last_weights_are_kept_unless_others_are_better_beyond_chance(accuracies, kept):
    assert kept_score(accuracies, ACCURACY, 400) == kept


def test_a_lead_that_may_be_chance_does_not_bring_earlier_weights_back(tmp_path):
    config = TrainingConfig(epochs=2, learning_rate=2e-3, batch_size=16, evaluations=10)
    for seed in range(8):  # until an evaluation leads the last by a row of 40; chance may be three
        model, result, validation = run(tmp_path, seed=seed, config=config)
        accuracies = [accuracy for _, accuracy in result.curve]
        if max(accuracies) > accuracies[-1]:
            break
    assert max(accuracies) > accuracies[-1] == result.score
    assert accuracy_of(model, validation) == pytest.approx(result.score)


def test_a_loss_that_is_not_finite_stops_the_run_at_once(tmp_path):
    steps = []

    def loss(model, batch):
        steps.append(1)
        good, output = hard_label_loss(model, batch)
        return good * (float("nan") if len(steps) == 5 else 1.0), output

    with pytest.raises(StepError, match=rf"learning: the loss became nan at step 5 of {STEPS}. Try a lower"):
        run(tmp_path, loss=loss)
    assert len(steps) == 5


# ---- patience


PATIENT = replace(CONFIG, evaluations=10, patience=2)  # evaluated at 3, 6, ..., 30


class TurnsAround:
    """A loss that teaches the wrong thing after step 9, in a run that begins after step `begin`."""

    def __init__(self, listener: Listener, begin: int = 0) -> None:
        self._listener, self._begin = listener, begin

    def __call__(self, model, batch):
        value, output = hard_label_loss(model, batch)
        done = self._listener.steps[-1][0] if self._listener.steps else self._begin
        return (value if done < 9 else -value), output


def test_patience_ends_a_run_that_gets_no_better_and_restores_the_best(tmp_path):
    listener = Listener()
    model, result, validation = run(
        tmp_path / "run", listener, loss=TurnsAround(listener), config=PATIENT, dropout=0.0
    )
    best, score = _best(result.curve, "accuracy")
    assert result.steps == result.curve[-1][0] == best + 2 * 3 < STEPS
    assert accuracy_of(model, validation) == pytest.approx(result.score) == score
    assert all(accuracy <= score for _, accuracy in result.curve)
    assert listener.said == [
        f"learning: stopped at step {result.steps} of 30, since no evaluation after step {best} was better than "
        f"{score:.4f}"
    ]
    assert listener.steps[-1][0] == result.steps


def test_patience_that_is_not_used_up_changes_nothing(uninterrupted, tmp_path):
    model, result, _ = run(tmp_path / "run", config=replace(CONFIG, patience=4))
    assert result.curve == uninterrupted[1].curve
    expected = uninterrupted[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


class StopsLate(Listener):
    """Pulls the plug when the early end is announced, before that evaluation's checkpoint is written."""

    def say(self, text: str) -> None:
        super().say(text)
        if "stopped" in text:
            raise KeyboardInterrupt


def test_a_run_that_was_killed_when_its_patience_ended_ends_with_the_same_weights(tmp_path):
    """Before that evaluation's checkpoint was written, or after: then no further evaluation is made."""
    heard = Listener()
    whole, expected, _ = run(tmp_path / "whole", heard, loss=TurnsAround(heard), config=PATIENT, dropout=0.0)
    end = expected.steps
    for killed, config, last in (
        (StopsLate(), PATIENT, end - 3),
        (Listener(end + 1), replace(PATIENT, patience=None), end),
    ):
        folder = tmp_path / f"from-{last}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, killed, loss=TurnsAround(killed), config=config, dropout=0.0)
        again = Listener()
        loss = TurnsAround(again, last)
        model, result, _ = run(folder, again, loss=loss, config=PATIENT, dropout=0.0)
        assert again.said[0] == f"learning: going on from checkpoint-{last}"
        assert result.curve == expected.curve
        assert result.steps == end
        wanted = whole.state_dict()
        assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


# ---- rows without labels


def test_a_loss_is_the_score_of_rows_without_labels(tmp_path):
    """The model learns to keep its first logit near 3, whatever the row; no label is read."""

    def loss(model, batch):
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return (output.logits[:, 0] - 3).pow(2).mean(), output

    model, rows, listener = tiny_compact(type_vocab_size=0), toy_rows(160, seed=1), Listener()
    validation = toy_rows(40, seed=2)
    for part in (rows, validation):
        part.labels[:] = [IGNORED_LABEL] * len(part)
    settings = {"folder": tmp_path / "run", "seed": 0, "progress": listener, "title": "learning"}
    result = train(model, rows, validation, CONFIG, **settings, loss=loss, judge=None)
    assert result.score == min(value for _, value in result.curve) < result.curve[0][1]
    logits = predict_logits(model, validation)[:, 0]
    assert float((logits - 3).pow(2).mean()) == pytest.approx(result.score, rel=1e-4)
    assert listener.steps[9][1] == f"validation loss {result.curve[0][1]:.4f}"


def test_of_equal_scores_the_first_counts():
    curve = [(1, 0.5), (2, 0.75), (3, 0.75), (4, 0.25), (5, 0.25)]
    assert _best(curve, "accuracy") == (2, 0.75)
    assert _best(curve, "loss") == (4, 0.25)


@pytest.mark.parametrize(("epochs", "steps"), [(0, 1), (0.25, 3)])
def test_epochs_may_be_fractions(tmp_path, epochs, steps):
    config = TrainingConfig(epochs=epochs, batch_size=16, evaluations=1)
    _, result, _ = run(tmp_path, config=config)
    assert result.steps == steps
    assert [step for step, _ in result.curve] == [steps]


def test_an_epoch_shows_every_row_once_in_shuffled_batches_of_similar_length():
    rows = toy_rows(1_050, seed=1)  # of 5 to 11 tokens
    sampler = _LengthGroupedEpochs(rows, 4, seed=0)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert all(sorted(epoch) == list(range(1_050)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    full = torch.tensor(rows.lengths)[epochs[0][:1_048]].view(-1, 4)
    assert (full.amax(1) - full.amin(1)).median() == 0
    steps = full.float().mean(1).diff()
    assert (
        steps > 0
    ).sum() > 50  # of 261; sorted from long to short, lengths rise where one group of fifty ends: 5 times


# ---- what the Trainer can do besides


class Watcher(TrainerCallback):
    """Keeps what the Trainer logs."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append(dict(logs))


def run_with(tmp_path: Path, watcher: Watcher, **arguments: object) -> None:
    rows, validation = toy_rows(160, seed=0), toy_rows(32, seed=1)
    train(
        tiny_compact(), rows, validation, replace(CONFIG, arguments=arguments), folder=tmp_path / "c", seed=0,
        progress=SilentProgress(), title="x", callbacks=[watcher],
    )  # fmt: skip


def test_callbacks_see_what_the_arguments_ask_for(tmp_path: Path) -> None:
    watcher = Watcher()
    run_with(
        tmp_path,
        watcher,
        logging_strategy="steps",
        logging_steps=10,
        lr_scheduler_type="constant_with_warmup",
    )
    rates = [logs["learning_rate"] for logs in watcher.logs if "learning_rate" in logs]
    assert rates == [CONFIG.learning_rate] * 3  # a linear schedule would have fallen
    assert all(logs["grad_norm"] > 0 for logs in watcher.logs if "grad_norm" in logs)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "learning_rate",
            "arguments.learning_rate: the run decides it itself, by the keys beside `arguments`",
        ),
        ("gradient_accumulation_steps", "arguments.gradient_accumulation_steps: the run decides it itself"),
        ("lr_schedular_type", "Did you mean 'lr_scheduler_type'"),
    ],
)
def test_arguments_that_are_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        run_with(tmp_path, Watcher(), **{name: 2})


@pytest.mark.parametrize("asked", [True, False])
def test_all_of_a_loss_runs_in_the_precision_of_the_training(tmp_path: Path, asked: bool) -> None:
    """The teacher's pass too, which is most of a distillation's time."""
    seen = []

    def loss(model, batch):
        seen.append(torch.is_autocast_enabled("cpu"))
        return hard_label_loss(model, batch)

    run(tmp_path / "run", loss=loss, config=replace(CONFIG, epochs=1, arguments={"bf16": asked}))
    assert set(seen) == {asked}
