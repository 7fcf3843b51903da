"""One training run: `transformers.Trainer` with a loss of ours, validation, a choice of weights and resume."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.data import Sampler
from transformers import (
    EvalPrediction,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_pt_utils import LengthGroupedSampler

from edgesmith.compress.losses import consistency_loss
from edgesmith.data.encoding import EncodedRows, choices, model_inputs
from edgesmith.errors import RecipeError, StepError, choose_from
from edgesmith.models.compact import label_loss
from edgesmith.models.device import use_bf16
from edgesmith.recipe import TrainingConfig
from edgesmith.records import Progress, SilentProgress
from edgesmith.runtime.judge import ACCURACY, Judge

LOSS = "loss"
"""What is looked at where there are no labels; of every other metric more is better."""

_ONE_SIDED = 1.645
"""Standard errors that chance exceeds once in twenty times."""

_BESIDE = "beside_the_model"

_WARMUP_STEPS, _TIMED_STEPS = 2, 8
"""Of `time_steps`."""

_FREE: dict[str, Any] = {
    "per_device_eval_batch_size": 128,
    "optim": "adamw_torch_fused",
    "report_to": [],
    "disable_tqdm": True,
    "logging_strategy": "no",
    "dataloader_pin_memory": False,
}
"""Of the Trainer's arguments those that a recipe may change, where we have other defaults."""

_TAKEN = {
    "num_train_epochs",
    "warmup_ratio",
    "gradient_accumulation_steps",
    "resume_from_checkpoint",
    "eval_delay",
}
"""Those that would say again, or otherwise, what our own keys say."""


class Loss(Protocol):
    """Loss of one batch. `batch` holds what `EncodedRows.collate` made."""

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        """The scalar loss and the model's output."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a run reached.

    Attributes:
        score: of the weights that were kept, on the validation rows.
        curve: (step, score) at each evaluation.
        steps: done, up to the last evaluation.
        wall_s: seconds of this process; an interrupted try is not counted.
    """

    score: float
    curve: tuple[tuple[int, float], ...]
    steps: int
    wall_s: float


def hard_label_loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
    """`label_loss` of the model's logits."""
    output = model(**model_inputs(batch))
    return label_loss(choices(output.logits, batch), choices(batch["labels"], batch)), output


class ConsistentLabels:
    """`label_loss` of two passes over a batch whose dropout differs, and how far they lie apart (R-Drop, arXiv:2106.14448).

    Args:
        weight: of `consistency_loss`, beside the mean of the passes' losses: half of the paper's alpha, which weighs it
            beside their sum.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Any]:
        twice = {name: torch.cat([value, value]) for name, value in batch.items()}
        loss, output = hard_label_loss(model, twice)
        first, second = (choices(half.float(), batch) for half in output.logits.chunk(2))
        return loss + self._weight * consistency_loss(first, second), output


def train(
    model: PreTrainedModel,
    rows: EncodedRows,
    validation: EncodedRows,
    config: TrainingConfig,
    *,
    folder: Path,
    seed: int,
    progress: Progress,
    title: str,
    loss: Loss = hard_label_loss,
    judge: Judge | None = ACCURACY,
    beside: nn.Module | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Trains `model` in place and leaves it with its last weights, or with those of a clearly better evaluation.

    Under ``torchrun`` or ``accelerate launch``, each process calls this with the same arguments, on a CPU, and gets the
    same weights and result. A step then takes `config.batch_size` rows in every process, and the mean of their
    gradients: a loss that is a mean over tokens is one over those of a process first. An epoch that does not divide into
    such steps ends with some of its first rows again, and so does a validation whose score is a loss. The first process
    alone shows progress and writes the model and the optimiser.

    Args:
        rows, validation: training and validation rows; no others are seen.
        folder: where checkpoints go, one for all processes. A run that was interrupted there goes on from its last one,
            with as many processes on a CPU to the same weights, bit by bit, as if it had not been; the folder is removed
            when the run is over.
        title: of the progress bar.
        loss: of one batch.
        judge: of the score; None for rows without labels, whose score is the mean loss over batches of 128.
        beside: parameters of the loss that learn with the model, and are in its checkpoints but no longer in it at the
            end.
        callbacks: more of `transformers`', such as a tracker's.

    Raises:
        RecipeError: `config.arguments` has a name that is not known, or that the run decides itself.
        StepError: the loss became infinite or NaN.
    """
    set_seed(seed)
    metric = _metric(judge)
    processes = PartialState(cpu=True)
    step_rows = config.batch_size * processes.num_processes
    if not processes.is_main_process:
        progress = SilentProgress()
    total = max(1, math.ceil(math.ceil(len(rows) / step_rows) * config.epochs))
    every = max(1, math.ceil(total / config.evaluations))
    arguments = _arguments(
        config.arguments,
        output_dir=str(folder),
        max_steps=total,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=round(total * config.warmup),
        use_cpu=True,  # teacher, logits and batches live there too
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        greater_is_better=judge is not None,
        remove_unused_columns=False,
        label_names=["labels"],
        seed=seed,
        data_seed=seed,
    )
    sampler = _LengthGroupedEpochs(rows, step_rows, seed)
    trainer = _LossTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        sampler=sampler,
        eval_dataset=validation,
        data_collator=rows.collate,
        compute_metrics=partial(_score, judge, validation) if judge else None,
        callbacks=[
            _EpochCallback(sampler),
            _ProgressCallback(progress, title, metric),
            *_patience(config, progress, title, metric),
            *callbacks,
        ],
        loss=loss,
        title=title,
        judge=judge,
    )
    trainer.remove_callback(PrinterCallback)  # our progress bar says the same
    # The Trainer set one seed for all: dropout and augmentation would draw the same in every process.
    set_seed(seed + processes.process_index)
    checkpoint = _last_checkpoint(folder)
    if checkpoint:
        progress.say(f"{title}: going on from {checkpoint.name}")
    with _joined(model, beside):
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    processes.wait_for_everyone()  # some may still read the best weights
    with processes.main_process_first():
        shutil.rmtree(folder, ignore_errors=True)
    curve = trainer.curve
    model.eval()
    return TrainingResult(
        score=kept_score([value for _, value in curve], judge, len(validation)),
        curve=curve,
        steps=curve[-1][0],
        wall_s=outcome.metrics["train_runtime"],
    )


def time_steps(
    model: PreTrainedModel, rows: EncodedRows, config: TrainingConfig, loss: Loss, seed: int
) -> float:
    """Seconds of a step of `train` in one process, the mean of its first few; the model is left as it was."""
    learner = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=config.learning_rate)
    order, size = list(_LengthGroupedEpochs(rows, config.batch_size, seed)), config.batch_size
    batches = cycle(order[start : start + size] for start in range(0, len(order), size))
    start = time.perf_counter()
    for step, batch in enumerate(islice(batches, _WARMUP_STEPS + _TIMED_STEPS)):
        if step == _WARMUP_STEPS:
            start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16()):
            value, _ = loss(learner, rows.collate([rows[row] for row in batch]))
        torch.autograd.backward(value)
        optimizer.step()
        optimizer.zero_grad()
    return (time.perf_counter() - start) / _TIMED_STEPS


def _arguments(asked: Mapping[str, Any], **ours: Any) -> TrainingArguments:
    """The Trainer's, ours and what the recipe asks for besides."""
    known = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    free = known - ours.keys() - _TAKEN
    for name in asked:
        if name in known - free:
            raise RecipeError(
                f"arguments.{name}: the run decides it itself, by the keys beside `arguments` (epochs, batch_size, "
                "learning_rate, warmup, weight_decay, evaluations, patience) and the recipe's seed. Leave it out."
            )
        if name not in free:
            raise RecipeError(
                "arguments: " + choose_from("argument of transformers.TrainingArguments", name, free)
            )
    return TrainingArguments(**{"bf16": use_bf16()} | _FREE | dict(asked) | ours)


def kept_score(scores: Sequence[float], judge: Judge | None, rows: int) -> float:
    """Of the evaluations of a run, in order, the one whose weights are kept: the last, unless one is clearly better.

    Validation rows are a sample, and the best of several evaluations is often a lucky one from before the learning rate
    fell. So the best one has to lead by more standard errors than chance does once in twenty times. Of losses, which are
    less a matter of luck, the lowest is kept.

    Args:
        judge: of the scores; None where they are losses.
        rows: of the validation split.
    """
    if judge is None:
        return min(scores)
    last, best = scores[-1], max(scores)
    return best if best - last > _ONE_SIDED * judge.error(last, rows) else last


@contextmanager
def _joined(model: nn.Module, beside: nn.Module | None) -> Iterator[None]:
    """Makes `beside` a part of the model for a while: optimiser and checkpoints then hold it too."""
    if beside is None:
        yield
        return
    model.add_module(_BESIDE, beside)
    try:
        yield
    finally:
        delattr(model, _BESIDE)


def _curve(history: Sequence[Mapping[str, float]], metric: str) -> tuple[tuple[int, float], ...]:
    """(step, score) of each evaluation."""
    name = f"eval_{metric}"
    return tuple((int(entry["step"]), float(entry[name])) for entry in history if name in entry)


def _best(curve: Sequence[tuple[int, float]], metric: str) -> tuple[int, float]:
    """Of equal points the first."""
    return (min if metric == LOSS else max)(curve, key=lambda point: point[1])


def _metric(judge: Judge | None) -> str:
    return judge.metric if judge else LOSS


def _last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: the Trainer's state is its last file."""
    finished = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE_NAME}") if _is_json(path)]
    return max(finished, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


class _LengthGroupedEpochs(LengthGroupedSampler):
    """Batches of rows of similar length, in an order that depends on the seed and the epoch only.

    A batch is a step's, of all processes: accelerate cuts it into theirs.

    The Trainer's own sampler draws from torch's global generator, which a resumed run finds in another state: in any
    but the first epoch it would see some rows twice and others not at all. It also leaves every fifty batches sorted
    from long to short, so that the last thing a model learns is its shortest rows: here the batches are shuffled.
    """

    def __init__(self, rows: EncodedRows, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=rows.lengths, generator=torch.Generator())
        self._seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Of the order that the next pass has."""
        self.generator.manual_seed(self._seed + epoch)

    def __iter__(self) -> Iterator[int]:
        rows = list(super().__iter__())  # type: ignore[no-untyped-call]
        *full, last = [
            rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)
        ]
        for batch in torch.randperm(len(full), generator=self.generator).tolist():
            yield from full[batch]
        yield from last  # it may be short


class _LossTrainer(Trainer):
    """A Trainer that asks `loss` for the loss of a batch, and stops where it is not finite.

    Of several processes it averages the gradients itself: `DistributedDataParallel` follows the outputs of `forward`, and
    our losses read what layers compute inside, have parameters beside the model, and may leave the logits unused.
    """

    def __init__(
        self, *, loss: Loss, sampler: Sampler[int], title: str, judge: Judge | None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._learner: nn.Module = settings["model"]  # without accelerate's wrapper
        self._loss, self._sampler, self._title, self._judge = loss, sampler, title, judge
        self._validation_rows = len(settings["eval_dataset"])

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """(step, score) at each evaluation so far."""
        return _curve(self.state.log_history, _metric(self._judge))

    def _load_best_model(self) -> None:
        """At the end of the run; the last weights stay where `kept_score` says so."""
        scores = [value for _, value in self.curve]
        if kept_score(scores, self._judge, self._validation_rows) != scores[-1]:
            super()._load_best_model()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._sampler

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.args.world_size > 1:
            gradients = [one.grad for one in self._learner.parameters() if one.grad is not None]
            mean: Any = self.accelerator.reduce(parameters_to_vector(gradients), "mean")
            vector_to_parameters(mean, gradients)
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:
        with self.accelerator.autocast():  # the teacher runs within the loss
            loss, output = self._loss(self._learner, inputs)
        if not torch.isfinite(loss):
            raise StepError(
                f"{self._title}: the loss became {loss.item()} at step {self.state.global_step + 1} of "
                f"{self.state.max_steps}. Try a lower learning_rate than {self.args.learning_rate:g}."
            )
        return (loss, output) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Logits and labels of an evaluation batch, or, where the loss is the score, the loss alone."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs["labels"]
        if prediction_loss_only:
            with torch.no_grad(), self.compute_loss_context_manager():
                loss, _ = self.compute_loss(model, inputs, return_outputs=True)
            return loss.detach().float(), None, None
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**model_inputs(inputs)).logits
        return None, logits.detach().float(), labels


class _EpochCallback(TrainerCallback):
    """Tells the sampler its epoch; accelerate does not where one of several processes skips the batches it has seen."""

    def __init__(self, sampler: _LengthGroupedEpochs) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._sampler.set_epoch(int(state.epoch))


class _ProgressCallback(TrainerCallback):
    """Hands the Trainer's state to our progress display."""

    def __init__(self, progress: Progress, title: str, metric: str) -> None:
        self._progress, self._title, self._metric = progress, title, metric
        self._note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress.start(self._title, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress.advance(state.global_step, self._note)
        if state.global_step == state.max_steps:
            control.should_evaluate = True  # the last weights compete too, where no interval ends on them

    def on_evaluate(self, args: Any, state: Any, control: Any, **facts: Any) -> None:
        self._note = f"validation {self._metric} {facts['metrics'][f'eval_{self._metric}']:.4f}"

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress.finish()


class _PatienceCallback(TrainerCallback):
    """Ends a run whose score has not risen for some evaluations.

    What it goes by is the Trainer's own history, which a checkpoint holds: a resumed run stops where the whole one did.
    """

    def __init__(self, patience: int, progress: Progress, title: str, metric: str) -> None:
        self._patience, self._progress, self._title, self._metric = patience, progress, title, metric

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stop_if_flat(state, control)  # it was killed between its last evaluation and its end

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._stop_if_flat(state, control)

    def _stop_if_flat(self, state: Any, control: Any) -> None:
        curve = _curve(state.log_history, self._metric)
        if not curve or state.global_step >= state.max_steps:
            return
        step, best = _best(curve, self._metric)
        since = sum(later > step for later, _ in curve)
        if since >= self._patience:
            control.should_training_stop = True
            self._progress.say(
                f"{self._title}: stopped at step {state.global_step} of {state.max_steps}, since no evaluation after "
                f"step {step} was better than {best:.4f}"
            )


def _patience(config: TrainingConfig, progress: Progress, title: str, metric: str) -> list[TrainerCallback]:
    return [] if config.patience is None else [_PatienceCallback(config.patience, progress, title, metric)]


def _score(judge: Judge, rows: EncodedRows, prediction: EvalPrediction) -> dict[str, float]:
    answers = rows.answers(np.asarray(prediction.predictions), judge)
    return {judge.metric: judge.quality(answers, rows.truth)}
