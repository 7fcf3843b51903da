"""`edgesmith prune`: a fine-tuned model is cut once, or in rounds each of which learns from the whole model what it lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from edgesmith.errors import RecipeError
from edgesmith.models.coupling import Prunable, check_is_prunable, to_prunable
from edgesmith.models.device import prepare_torch
from edgesmith.models.families import check_has_compact_form
from edgesmith.models.plain import to_plain
from edgesmith.pipeline import steps
from edgesmith.pipeline.bench import MODEL_FOLDER, Workbench, model_folder
from edgesmith.pipeline.cutting import Cut
from edgesmith.pipeline.folder import appearing, check_is_free
from edgesmith.pipeline.learning import lesson_folder
from edgesmith.pipeline.runs import RunFolder, StepResult, base_key
from edgesmith.pipeline.tasks import Opened, open_finetuned
from edgesmith.recipe import CutConfig, Recipe
from edgesmith.records import (
    STEP_RECORD_NAME,
    KeptUnits,
    Progress,
    Pruning,
    StepRecord,
    from_dict,
    to_dict,
    write_json,
)

FIRST_EPOCHS = 1 / 3
"""Share of a gradual schedule's epochs that its first round gets."""

FEWEST_EPOCHS = 0.05
"""That a time limit must leave."""


def prune(recipe: Recipe, config: CutConfig, out: Path, progress: Progress) -> Pruning:
    """Cuts a fine-tuned model down to a share of its MACs, parameters, predicted latency or word table.

    Heads and neurons are chosen by the mask search, rearranged where importance is ``fisher``, and what stays is tuned
    (arXiv:2204.09656). Whole layers and hidden units are dropped from the least important on. Where `config.schedule` says so,
    what is left then learns from the whole model. The test rows are not read.

    Args:
        recipe: of it only the model, the task, the metric, the data, the seed and `prune` count; and where latency is limited,
            target and threads.
        out: folder for the model and its ``step.json``; must not exist, or be empty. A recovery that was stopped goes on.

    Raises:
        RecipeError: `out` holds something, nothing would be left of a layer or of the word table, or images are to lose tokens.
        ModelError: the model cannot be loaded, or is not fine-tuned for the task.
        DataError: the data cannot be used.
        UnsupportedError: a family that is not known or, with a recovery or a smaller table, has no compact form; or a target
            that no latency can be predicted for.
        StepError: the loss became infinite or NaN.
    """
    prepare_torch()
    check_is_free(out)
    _check_has_tokens(recipe, config)
    is_compact = config.shrinks_table or config.schedule != "none"
    opened = open_finetuned(recipe, check_has_compact_form if is_compact else check_is_prunable)
    if config.vocabulary is not None:
        opened.modality.check_can_trim()
        opened.modality.keep(config.vocabulary)
    if config.schedule != "none":
        with lesson_folder(recipe, opened, out, progress) as run:
            return _Rounds(recipe, config, opened, run, progress).finish(out)
    for note in opened.modality.splits.notes:
        progress.say(note)
    cut = Cut(recipe, config, opened, _whole(opened, config), progress)
    student = cut.student()
    with appearing(out) as folder:
        pruning = cut.pruning(_written(opened, cut, student, folder), out)
        _record(recipe, config, opened, pruning, folder)
    return pruning


def _check_has_tokens(recipe: Recipe, config: CutConfig) -> None:
    for option in ("vocabulary", "embedding"):
        value = getattr(config, option)
        if value is not None and recipe.task == "image-classification":
            raise RecipeError(f"--{option} is {value}; images have no word table. Leave it out.")


def _whole(opened: Opened, config: CutConfig) -> Prunable:
    """What is cut: with the model's positions, or as many as are in use where the tables shrink too."""
    return opened.modality.compact(opened.model) if config.shrinks_table else to_prunable(opened.model)


def _written(opened: Opened, cut: Cut, student: Prunable, folder: Path) -> PreTrainedModel:
    """The student in a folder, as a plain model where one has its shape, read back."""
    model = to_plain(student, opened.model) or student
    opened.modality.save(model, folder, trimmed=cut.is_trimmed)
    again: PreTrainedModel = type(model).from_pretrained(folder)
    return again


def _record(recipe: Recipe, config: CutConfig, opened: Opened, pruning: Pruning, folder: Path) -> None:
    settings = {"prune": to_dict(config), "task": recipe.task, "max_length": recipe.data.max_length}
    splits = opened.modality.splits
    record = StepRecord(
        step="prune",
        key=base_key(model_folder(recipe.model), splits.fingerprint, recipe.seed, settings),
        wall_s=sum(pruning.wall_s.values()),
        config=settings,
        facts=to_dict(pruning),
    )
    write_json(folder / STEP_RECORD_NAME, record)


@dataclass(frozen=True)
class _Round:
    """One cut and what is learnt after it.

    Attributes:
        config: shares of the model that the round begins with.
        epochs: share of all.
    """

    config: CutConfig
    epochs: float


def _rounds(config: CutConfig) -> list[_Round]:
    """One, or two by the square root of every share; the word table shrinks in the last, and alone in one."""
    if config.schedule == "one-shot" or not config.shares:
        return [_Round(config, 1.0)]
    halfway: dict[str, Any] = {name: share**0.5 for name, share in config.shares.items()}
    first = replace(config, **halfway, vocabulary=None, embedding=None)
    return [_Round(first, FIRST_EPOCHS), _Round(replace(config, **halfway), 1 - FIRST_EPOCHS)]


class _Rounds:
    """Cuts with a recovery after each, as steps in a folder where a second try finds what is done."""

    def __init__(
        self, recipe: Recipe, config: CutConfig, opened: Opened, folder: RunFolder, progress: Progress
    ) -> None:
        self.recipe, self.config, self.opened = recipe, config, opened
        self.folder, self.progress = folder, progress
        self.bench = Workbench(recipe, opened.modality, opened.model, model_folder(recipe.model), progress)
        self.epochs = recipe.prune.recovery.epochs
        self.parents: tuple[StepRecord, ...] = ()

    def finish(self, out: Path) -> Pruning:
        """All rounds, and the last one's model handed over."""
        model, found = _whole(self.opened, self.config), []
        for number, one in enumerate(_rounds(self.config), 1):
            cut = Cut(
                self.recipe, one.config, self.opened, model, self.progress, self.bench.teacher_validation
            )
            model = self._cut(cut, number)
            if number == 1 and self.config.time_limit_s is not None:
                self._fit_time(cut, model, self.config.time_limit_s)
            model, pruning = self._recover(cut, model, number, one.epochs * self.epochs)
            found.append(pruning)
        with appearing(self.folder.path / "handed-over") as folder:
            read = _written(self.opened, cut, model, folder)
            pruning = replace(
                _summed(found),
                folder=str(out),
                model_class=type(read).__name__,
                schedule=self.config.schedule,
            )
            _record(self.recipe, self.config, self.opened, pruning, folder)
        if out.exists():
            out.rmdir()  # it is empty
        (self.folder.path / "handed-over").rename(out)
        return pruning

    def _cut(self, cut: Cut, number: int) -> Prunable:
        def work(folder: Path) -> StepResult:
            student = cut.student()
            self.opened.modality.save(student, folder / MODEL_FOLDER, trimmed=cut.is_trimmed)
            return StepResult(to_dict(cut.pruning(student, folder)))

        return self._step(f"{number:02d}-prune", cut, cut.config, work)[0]

    def _recover(self, cut: Cut, student: Prunable, number: int, epochs: float) -> tuple[Prunable, Pruning]:
        """The student after its training, and what the round did."""
        pruned = from_dict(Pruning, self.parents[-1].facts)
        config = replace(self.recipe.prune.recovery, epochs=epochs)

        def work(folder: Path) -> StepResult:
            result = steps.recover(
                self.bench, student, config, f"recovering round {number}", folder, trimmed=cut.is_trimmed
            )
            self.opened.modality.save(student, folder / MODEL_FOLDER, trimmed=cut.is_trimmed)
            answers = cut.answers(student, cut.rows)
            return StepResult(
                {
                    "quality": result.score,
                    "agreement": self.bench.judge.agreement(answers, self.bench.teacher_validation),
                    "wall_s": result.wall_s,
                }
            )

        model, facts = self._step(f"{number:02d}-recover", cut, config, work)
        return model, replace(
            pruned,
            quality={**pruned.quality, "recovery": facts["quality"]},
            agreement={**pruned.agreement, "recovery": facts["agreement"]},
            wall_s=pruned.wall_s | {"recovery": round(facts["wall_s"], 2)},
            epochs=epochs,
        )

    def _fit_time(self, cut: Cut, student: Prunable, limit_s: float) -> None:
        """Fewer epochs, where as many as the recipe asks for would take longer than the limit."""
        config, (pruned,) = self.recipe.prune.recovery, self.parents

        def work(folder: Path) -> StepResult:
            epoch_s = steps.seconds_an_epoch(self.bench, student, config, trimmed=cut.is_trimmed)
            return StepResult({"epoch_s": epoch_s})

        timed, _ = self.folder.step("00-time", config=config, parents=self.parents, work=work)
        epoch_s, facts = float(timed.facts["epoch_s"]), pruned.facts
        evaluation_s = facts["wall_s"]["evaluation"] / len(facts["quality"])
        fixed_s = len(_rounds(self.config)) * config.evaluations * evaluation_s
        fitting = (limit_s - fixed_s) / epoch_s
        if fitting < FEWEST_EPOCHS:
            least = ceil((FEWEST_EPOCHS * epoch_s + fixed_s) / 60)
            raise RecipeError(
                f"--time-limit {limit_s:g}s is too short: an epoch takes about {epoch_s:.0f} s here, and evaluations "
                f"{fixed_s:.0f} s. Type: --time-limit {least}min, or --max-rows with fewer rows."
            )
        self.epochs = min(self.epochs, fitting)
        self.progress.say(
            f"an epoch takes about {epoch_s:.0f} s, evaluations {fixed_s:.0f} s: {self.epochs:.2f} of "
            f"{config.epochs:g} epochs fit into {limit_s:.0f} s"
        )

    def _step(
        self, name: str, cut: Cut, config: Any, work: Callable[[Path], StepResult]
    ) -> tuple[Prunable, dict[str, Any]]:
        """A step that follows from the one before: the model in its folder, and its facts."""
        record, path = self.folder.step(
            name,
            config=config,
            parents=self.parents,
            work=work,
            on_reuse=lambda record: self.progress.say(f"{name}: already done in {record.wall_s:.0f} s"),
        )
        self.parents = (record,)
        return self.bench.load_student(path / MODEL_FOLDER), dict(record.facts)


def _summed(rounds: Sequence[Pruning]) -> Pruning:
    """The last round as one that began with the whole model, and those before it."""
    first, last = rounds[0], rounds[-1]
    if first is last:
        return last
    began = {kept.name: kept for kept in first.kept}
    return replace(
        last,
        kept=tuple(_composed(began.get(kept.name), kept) for kept in last.kept),
        macs_before=first.macs_before,
        parameters_before=first.parameters_before,
        predicted_ms=last.predicted_ms
        and first.predicted_ms
        and (first.predicted_ms[0], last.predicted_ms[1]),
        earlier=tuple(rounds[:-1]),
    )


def _composed(first: KeptUnits | None, second: KeptUnits) -> KeptUnits:
    """What a second cut keeps of what a first one kept, by the whole model's numbers."""
    if first is None:
        return second
    indices = tuple(first.indices[index] for index in second.indices)
    return replace(second, units=first.units, indices=indices)
