"""WHAT is to be done: the recipe, its budget and the configuration of each step. YAML <-> object, validated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from edgesmith.errors import RecipeError
from edgesmith.records import (
    METRICS_OF,
    RUNTIME_NAMES,
    SCORED_TASK,
    MetricName,
    RuntimeName,
    Schedule,
    Task,
    UnitKind,
    from_dict,
    to_dict,
    write_text,
)

RECIPE_VERSION = 1

CandidateName = Literal["tiny", "small", "medium", "large", "full"]
CANDIDATES: tuple[CandidateName, ...] = get_args(CandidateName)
"""Structures that a search chooses from, the smallest first."""


def _require(condition: bool, key: str, value: object, allowed: str) -> None:
    if not condition:
        raise RecipeError(f"{key} is {value!r}; allowed: {allowed}.")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the artifact must keep to.

    Attributes:
        max_drop: largest loss of the task's metric against the teacher, as a fraction (0.01 is one point).
        max_size_bytes: held against everything the device loads.
        max_latency_ms: held against the artifact's p50 at batch 1.
        confident: ask that the worse end of the drop's 95 % interval is inside, not only the point estimate.
    """

    max_drop: float = 0.01
    max_size_bytes: int | None = None
    max_latency_ms: float | None = None
    confident: bool = False

    def __post_init__(self) -> None:
        _require(
            0 <= self.max_drop < 1, "budget.max_drop", self.max_drop, "0 <= max_drop < 1 (0.01 is one point)"
        )
        for key in ("max_size_bytes", "max_latency_ms"):
            value = getattr(self, key)
            _require(
                value is None or value > 0, f"budget.{key}", value, "a number above 0, or null for no limit"
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the rows are and which columns matter; a column left out is guessed and shown.

    Attributes:
        max_length: longest input in tokens; longer ones are truncated.
        max_rows: use at most this many training rows (a seeded sample).
        validation_rows: rows to carve where the data has no validation split; None takes a tenth, at most 6,000.
        unlabelled: a file of texts without labels, as `GeneralConfig.data`: the teacher answers them, and students learn
            from them beside the training rows.
        unlabelled_text: their column.
    """

    path: str
    text: str | None = None
    pair: str | None = None
    image: str | None = None
    label: str | None = None
    max_length: int = 128
    max_rows: int | None = None
    validation_rows: int | None = None
    unlabelled: str | None = None
    unlabelled_text: str | None = None

    def __post_init__(self) -> None:
        _require(8 <= self.max_length <= 4096, "data.max_length", self.max_length, "8 to 4096 tokens")
        _require(self.max_rows is None or self.max_rows >= 16, "data.max_rows", self.max_rows, "16 or more")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run, by `transformers.Trainer`.

    Attributes:
        evaluations: on validation rows, evenly spaced over the run; the best of them is what the run ends with.
        patience: evaluations in a row without a better one that end the run early; None lets it go on to its end.
        arguments: more of `transformers.TrainingArguments`, such as ``{lr_scheduler_type: cosine, report_to: [tensorboard],
            logging_strategy: steps}``; those that the keys here and the run itself decide are refused.
    """

    epochs: float = 2.0
    learning_rate: float = 5e-5
    batch_size: int = 32
    warmup: float = 0.06
    weight_decay: float = 0.01
    evaluations: int = 4
    patience: int | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        _require(0 < self.learning_rate < 1, "learning_rate", self.learning_rate, "between 0 and 1")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _require(0 <= self.warmup < 1, "warmup", self.warmup, "a fraction of the steps, 0 <= warmup < 1")
        _require(self.evaluations >= 1, "evaluations", self.evaluations, "1 or more over the run")
        _require(
            self.patience is None or self.patience >= 1,
            "patience",
            self.patience,
            "1 or more evaluations, or null for no early stop",
        )


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(TrainingConfig):
    """Fine-tuning of a model that has no head for the task.

    Attributes:
        restarts: runs with different orders of rows and dropout; the best on validation rows is the teacher, as in BERT's
            own fine-tuning (arXiv:1810.04805, section 4.1).
        consistency_weight: of how far two passes over a batch lie apart, whose dropout differs (R-Drop,
            arXiv:2106.14448); steps take about twice as long. 0 makes one pass.
    """

    restarts: int = 1
    consistency_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.restarts >= 1, "restarts", self.restarts, "1 or more")
        _require(self.consistency_weight >= 0, "consistency_weight", self.consistency_weight, "0 or more")


@dataclass(frozen=True, kw_only=True)
class MatchConfig(TrainingConfig):
    """How much of what a teacher computes inside a student is to compute too; a weight of 0 leaves a term out.

    Attributes:
        hidden_weight: of the mean squared error between hidden states of matched layers (arXiv:1909.10351, equation 8).
        attention_weight: of the same between attention scores (equation 7); as many heads are needed in both.
        embedding_weight: of the same between outputs of the embedding layers (equation 9).
        relation_weight: of the KL between self-attention relations (arXiv:2012.15828); widths and heads may differ.
        relation_heads: most relation heads; the largest number up to it that divides both widths is taken.
        relation_layer: the teacher's layer, from 0, whose relations the student's last layer follows; None: the last.
    """

    hidden_weight: float = 0.0
    attention_weight: float = 0.0
    embedding_weight: float = 0.0
    relation_weight: float = 0.0
    relation_heads: int = 48
    relation_layer: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("hidden_weight", "attention_weight", "embedding_weight", "relation_weight"):
            _require(getattr(self, key) >= 0, key, getattr(self, key), "0 or more")
        _require(self.relation_heads >= 1, "relation_heads", self.relation_heads, "1 or more")
        layer = self.relation_layer
        _require(layer is None or layer >= 0, "relation_layer", layer, "0 or more, or null for the last")

    @property
    def matches(self) -> bool:
        """Whether any term is left."""
        return (self.hidden_weight + self.attention_weight + self.embedding_weight + self.relation_weight) > 0


@dataclass(frozen=True, kw_only=True)
class GeneralConfig(MatchConfig):
    """Distillation on texts without labels, before that on the task (TinyBERT's general stage, arXiv:1909.10351).

    Attributes:
        data: a .txt file with one text a line, or a .csv, .tsv, .jsonl or .parquet file; None leaves the stage out.
        text: column of the texts; guessed and shown if left out.
        max_rows: use at most this many texts (a seeded sample).
        validation_rows: texts held out for the validation loss; None takes a tenth, at most 1,000.
        teacher: local folder or hub id of an encoder with the model's tokenizer, which may be wider or deeper; None
            takes the task's own teacher.
    """

    data: str | None = None
    text: str | None = None
    max_rows: int | None = None
    validation_rows: int | None = None
    teacher: str | None = None
    hidden_weight: float = 1.0
    relation_weight: float = 1.0
    epochs: float = 1.0
    learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.max_rows is None or self.max_rows >= 16, "max_rows", self.max_rows, "16 or more")
        rows = self.validation_rows
        _require(rows is None or rows >= 1, "validation_rows", rows, "1 or more")
        _require(
            self.matches,
            "distill.general",
            "all weights 0",
            "a hidden_weight, attention_weight, embedding_weight or relation_weight above 0",
        )


@dataclass(frozen=True, kw_only=True)
class TeachingConfig(MatchConfig):
    """Distillation on the task: the teacher's answers and what it computes on the way (arXiv:1503.02531).

    Attributes:
        temperature: softens both distributions of the logit loss.
        hard_label_weight: weight of the cross-entropy with the labels; the rest goes to the teacher's logits.
        augmented_rows: fraction of each batch's rows in which words give way to near ones, for the teacher to label.
        replaced_words: fraction of the words in such a row.
        joined_batches: fraction of the batches whose rows, single texts, join in pairs, for the teacher to label: for
            training rows shorter than the texts that a device will read.
    """

    temperature: float = 2.0
    hard_label_weight: float = 0.1
    hidden_weight: float = 1.0
    augmented_rows: float = 0.7
    replaced_words: float = 0.3
    joined_batches: float = 0.0
    epochs: float = 1.0
    learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.temperature > 0, "temperature", self.temperature, "above 0")
        _require(0 <= self.hard_label_weight <= 1, "hard_label_weight", self.hard_label_weight, "0 to 1")
        _require(0 <= self.augmented_rows <= 1, "augmented_rows", self.augmented_rows, "0 to 1")
        _require(0 <= self.replaced_words <= 1, "replaced_words", self.replaced_words, "0 to 1")
        _require(0 <= self.joined_batches <= 1, "joined_batches", self.joined_batches, "0 to 1")


@dataclass(frozen=True, kw_only=True)
class DistillConfig(TeachingConfig):
    """Distillation of a student of fewer layers.

    Attributes:
        general: a stage before it, on texts without labels.
        table_bytes: most that the teacher's logits of the training rows may take on disk, for a resumed run to read.
    """

    general: GeneralConfig = field(default_factory=GeneralConfig)
    table_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.table_bytes >= 0, "distill.table_bytes", self.table_bytes, "0 or more")


@dataclass(frozen=True, kw_only=True)
class RecoveryConfig(TeachingConfig):
    """Distillation of a pruned student, from the unpruned teacher."""

    epochs: float = 4.0
    learning_rate: float = 3e-4
    evaluations: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.attention_weight == 0,
            "prune.recovery.attention_weight",
            self.attention_weight,
            "0, since a pruned student has fewer heads than its teacher; relation_weight compares what they attend to",
        )


@dataclass(frozen=True, kw_only=True)
class QatConfig(TeachingConfig):
    """Training of a plan: the model as the plan rounds it learns what the one in FP32 answers and computes.

    The learning rate is low: the weights are nearly where they should be, and five times as much moved those of a plan that had
    lost nothing away (LOG.md).

    Attributes:
        epochs: 0 trains nothing, as long as it has not been seen to help on real data (LOG.md).
    """

    epochs: float = 0.0
    learning_rate: float = 2e-5
    hard_label_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.attention_weight == 0,
            "attention_weight",
            self.attention_weight,
            "0 where a plan is trained, since its model may have fewer heads than the teacher; relation_weight compares what "
            "they attend to",
        )


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """How heads and FFN neurons are ranked, which tokens stay, and how the loss is recovered.

    Attributes:
        importance_rows: training rows for the diagonal Fisher information (arXiv:2204.09656).
        masks: units that stay are ``ranked`` by it; or also ``rearranged`` by what they carry together; or rearranged and
            then ``tuned``, rescaled to give what the whole layers give, before recovery (sections 4.2 and 4.3 there).
        vocabulary: the tokens that stay: those that the training ``texts`` use, or also all that their ``letters`` can
            write; ``auto`` takes the latter where a trial loses too much on words of no training text. Images have none.
        min_token_count: tokens seen less often in the training texts leave the vocabulary.
        vocabulary_size: most tokens that stay, of which the rarest leave first; None for no limit. Special tokens and
            single characters stay in any case.
        embedding_energy: word tables are factorised to the smallest rank that holds this share of the table's squared
            singular values, in (0, 1); None leaves the rank to each candidate.
        embedding_bytes: word tables are factorised to the largest rank whose two factors have at most so many weights,
            bytes in INT8; likewise.
        recovery: distillation from the unpruned teacher after removal.
    """

    importance_rows: int = 512
    masks: Literal["ranked", "rearranged", "tuned"] = "ranked"
    vocabulary: Literal["auto", "texts", "letters"] = "auto"
    min_token_count: int = 1
    vocabulary_size: int | None = None
    embedding_energy: float | None = None
    embedding_bytes: int | None = None
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)

    def __post_init__(self) -> None:
        _require(self.importance_rows >= 1, "prune.importance_rows", self.importance_rows, "1 or more")
        _require(self.min_token_count >= 1, "prune.min_token_count", self.min_token_count, "1 or more")
        size = self.vocabulary_size
        _require(
            size is None or size >= 1, "prune.vocabulary_size", size, "1 or more tokens, or null for no limit"
        )
        energy, most = self.embedding_energy, self.embedding_bytes
        _require(
            energy is None or 0 < energy < 1,
            "prune.embedding_energy",
            energy,
            "a share between 0 and 1, such as 0.9, or null",
        )
        _require(most is None or most >= 1, "prune.embedding_bytes", most, "1 or more, or null")
        _require(
            energy is None or most is None,
            "prune.embedding_energy and prune.embedding_bytes",
            (energy, most),
            "one of them, since each decides the rank; null for the other",
        )


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """The model that `edgesmith distill` teaches: another one, or a smaller one cut from the teacher.

    Attributes:
        model: a name that `edgesmith models` lists, with random weights, or a local folder or hub id of pretrained weights
            under the teacher's tokenizer; None cuts the student from the teacher.
        layers: of the teacher that stay, evenly spaced; None keeps all.
        hidden: share of the teacher's hidden units that stay, the most important by Fisher information; None keeps all.
        rank: of the word table's two factors (truncated SVD); None leaves it whole.
    """

    model: str | None = None
    layers: int | None = None
    hidden: float | None = None
    rank: int | None = None

    def __post_init__(self) -> None:
        _require(self.layers is None or self.layers >= 1, "layers", self.layers, "1 or more")
        _require(self.hidden is None or 0 < self.hidden < 1, "hidden", self.hidden, "a share such as 50%")
        _require(self.rank is None or self.rank >= 1, "rank", self.rank, "1 or more")
        cut = {"layers": self.layers, "hidden": self.hidden, "rank": self.rank}
        named = {key: value for key, value in cut.items() if value is not None}
        if (self.model is None) == (not named):
            raise RecipeError(
                f"student is {self.model!r}, and what is cut from the teacher is {named or 'nothing'}; one of both is needed. "
                "Examples: --student tinybert-4, or --layers 3 --hidden 50%"
            )


@dataclass(frozen=True, kw_only=True)
class CutConfig:
    """What `edgesmith prune` leaves of a model, and how it decides.

    Attributes:
        macs, parameters: largest share that stays, in (0, 1]; None sets no limit.
        latency: the same of the latency in FP32 that is predicted for the recipe's target.
        vocabulary: tokens that stay in the word table, as in `PruneConfig`; None keeps all.
        embedding: largest share of the word table's weights that stays, by a factorisation; None leaves it whole.
        units: heads and neurons, one of these, or whole layers, or hidden units of the residual stream.
        importance: ``fisher`` (arXiv:2204.09656), ``taylor`` (arXiv:1905.10650) or ``magnitude`` of the weights.
        importance_rows: training rows for the first two, and for the rearrangement.
        tuning_rows: training rows on whose tokens what stays is rescaled; 0 leaves it as it is.
        length: of the input that MACs are counted for, in tokens; None takes the mean of the validation rows.
        schedule: whether what is left learns from the whole model, as `PruneConfig.recovery` says: not at all, after one cut,
            or after each of two.
        time_limit_s: most that learning may take, as far as its first steps tell; fewer epochs fit then.
    """

    macs: float | None = None
    parameters: float | None = None
    latency: float | None = None
    vocabulary: Literal["texts", "letters"] | None = None
    embedding: float | None = None
    units: tuple[UnitKind, ...] = ("heads", "neurons")
    importance: Literal["fisher", "taylor", "magnitude"] = "fisher"
    importance_rows: int = 512
    tuning_rows: int = 512
    length: int | None = None
    schedule: Schedule = "none"
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        _require(
            bool(self.shares) or self.shrinks_table,
            "macs, parameters, latency, vocabulary and embedding",
            None,
            "a value for one of them or several, such as --macs 50%",
        )
        for key in ("macs", "parameters", "latency", "embedding"):
            share = getattr(self, key)
            _require(share is None or 0 < share <= 1, key, share, "above 0, and at most 1 (0.5 is 50 %)")
        _require(
            set(self.units) in ({"heads", "neurons"}, {"heads"}, {"neurons"}, {"layers"}, {"hidden"})
            and len(set(self.units)) == len(self.units),
            "units",
            ",".join(self.units),
            "heads,neurons; heads; neurons; layers; hidden. A pruned model can be pruned again by others",
        )
        _require(
            self.importance != "magnitude" or set(self.units) <= {"heads", "neurons"},
            "importance",
            self.importance,
            "fisher or taylor for layers and hidden units",
        )
        _require(self.importance_rows >= 1, "importance_rows", self.importance_rows, "1 or more")
        _require(self.tuning_rows >= 0, "tuning_rows", self.tuning_rows, "0 for no tuning, or more")
        _require(self.length is None or self.length >= 1, "length", self.length, "1 or more tokens")
        _require(
            self.time_limit_s is None or (self.time_limit_s > 0 and self.schedule != "none"),
            "time_limit_s",
            self.time_limit_s,
            "more than 0 seconds, of a recovery. Add --recover",
        )

    @property
    def shares(self) -> dict[str, float]:
        """Of MACs, parameters and latency, those that are limited."""
        found = {"macs": self.macs, "parameters": self.parameters, "latency": self.latency}
        return {name: share for name, share in found.items() if share is not None}

    @property
    def shrinks_table(self) -> bool:
        """Whether anything happens to the word table."""
        return (self.vocabulary, self.embedding) != (None, None)


Observer = Literal["min_max", "percentile", "mse"]
"""How the range of a static activation is chosen; see `edgesmith.compress.quantize_ranges`."""

UniformScheme = Literal["fp32", "fp16", "int8-dynamic", "int8-static", "int4"]
"""One precision for every layer, to compare a plan with."""


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """What `edgesmith quantize` looks for, and how.

    Attributes:
        runtime: that the plan is made for.
        max_share: most of the bytes that the model's weights take in FP32, in (0, 1]; counts where `max_bytes` is None.
        max_bytes: most of weights and graph.
        int8_macs: least share of the MACs on INT8 activations, in [0, 1).
        static_macs: least share on those with a range that is known beforehand.
        higher: what a layer is kept in that is in no integers.
        uniform: no plan: every layer in this, where the runtime has it.
        calibration_rows: validation rows, without their labels, that sensitivity is measured on, and training rows that
            ranges are.
        verification_rows: most validation rows that a plan is tried on in PyTorch, others where there are enough; the file
            answers all of them.
        observer: of the ranges of static activations.
        max_trials: most plans that are tried.
        training: of the best plan, where none keeps the drop; 0 epochs leave it out.
    """

    runtime: RuntimeName = "onnxruntime"
    max_share: float = 0.29
    max_bytes: int | None = None
    int8_macs: float = 0.6
    static_macs: float = 0.0
    higher: Literal["fp16", "fp32"] = "fp16"
    uniform: UniformScheme | None = None
    calibration_rows: int = 128
    verification_rows: int = 1024
    observer: Observer = "mse"
    max_trials: int = 8
    training: QatConfig = field(default_factory=QatConfig)

    def __post_init__(self) -> None:
        share = self.max_share
        _require(0 < share <= 1, "size", share, "a share above 0 and at most 1 (0.29 is 29 %), or bytes")
        _require(self.max_bytes is None or self.max_bytes > 0, "size", self.max_bytes, "more than 0 bytes")
        for key in ("int8_macs", "static_macs"):
            _require(
                0 <= getattr(self, key) < 1, key, getattr(self, key), "0 or more, and below 1 (0.6 is 60 %)"
            )
        for key in ("calibration_rows", "verification_rows", "max_trials"):
            _require(getattr(self, key) >= 1, key, getattr(self, key), "1 or more")
        if self.training.epochs and self.uniform in ("fp32", "fp16"):
            raise RecipeError(
                f"training is of {self.training.epochs:g} epochs, and uniform is {self.uniform}, which rounds nothing that "
                "training could move. Leave --train out, or type: --uniform int8-static, int8-dynamic or int4"
            )


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """How layers get their precision.

    Attributes:
        calibration_rows: validation rows, without their labels, whose outputs in FP32 the sensitivity is measured against. What
            a teacher knows by heart seems to bear any rounding (LOG.md), so that training rows do not tell.
        max_divergence: most KL divergence in nats, summed over layers, that the plan may cost.
        higher: what a sensitive layer is kept in. FP16 halves the file; CPUs without FP16 units compute it in FP32.
        recovery: training of a plan that loses more than the budget on validation rows; 0 epochs leave it out.
    """

    calibration_rows: int = 256
    max_divergence: float = 0.005
    higher: Literal["fp16", "fp32"] = "fp16"
    recovery: QatConfig = field(default_factory=QatConfig)

    def __post_init__(self) -> None:
        _require(self.calibration_rows >= 1, "quantize.calibration_rows", self.calibration_rows, "1 or more")
        _require(self.max_divergence >= 0, "quantize.max_divergence", self.max_divergence, "0 or more")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Bounds of the search for a structure.

    Attributes:
        candidates: the structures that come into question; each takes some seconds to be timed on this host.
        min_trials: candidates that get a short distillation in any case, as far as there are so many.
        max_trials: candidates that get one while none is expected to keep the budget.
        trial_epochs: its length.
        trial_rows: training rows it may use.
        max_attempts: candidates that may be built in full before the best one is handed over.
    """

    candidates: tuple[CandidateName, ...] = CANDIDATES
    min_trials: int = 3
    max_trials: int = 5
    trial_epochs: float = 1.0
    trial_rows: int = 8000
    max_attempts: int = 2

    def __post_init__(self) -> None:
        _require(
            0 < len(self.candidates) == len(set(self.candidates)),
            "search.candidates",
            list(self.candidates),
            f"one or several of {', '.join(CANDIDATES)}, each once",
        )
        _require(self.max_trials >= 1, "search.max_trials", self.max_trials, "1 or more")
        _require(self.min_trials >= 1, "search.min_trials", self.min_trials, "1 or more")
        _require(self.max_attempts >= 1, "search.max_attempts", self.max_attempts, "1 or more")


@dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """How the artifact is measured.

    Attributes:
        inputs: real inputs that are timed, drawn from the test split over all lengths.
        rounds: interleaved passes over them.
        threads: of every artifact that is timed.
        resamples: of the paired bootstrap.
        min_agreement: guard; fewer equal labels than this on validation rows stop an artifact.
    """

    inputs: int = 64
    rounds: int = 20
    threads: int = 1
    resamples: int = 2000
    min_agreement: float = 0.8

    def __post_init__(self) -> None:
        for key in ("inputs", "rounds", "threads", "resamples"):
            _require(getattr(self, key) >= 1, f"validate.{key}", getattr(self, key), "1 or more")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything `edgesmith compress` needs to know.

    Attributes:
        model: local folder, hub id, or a name that `edgesmith models` lists: that one starts from random weights.
        tokenizer: folder or hub id of one for a model of the zoo, which has none; every other model has its own.
        metric: what teacher and artifact are judged by, one of the task's in `METRICS_OF`; None takes the first.
        target: a name that `edgesmith targets` lists; ``host`` is this machine.
        runtimes: what artifacts are made for; the fastest that passes is the answer. Candidates are timed on the first.
        quick: the run works on a subset and its verdict says so.
    """

    model: str
    data: DataConfig
    tokenizer: str | None = None
    task: Task = "text-classification"
    metric: MetricName | None = None
    target: str = "host"
    runtimes: tuple[RuntimeName, ...] = ("onnxruntime",)
    budget: Budget = field(default_factory=Budget)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    quantize: QuantizeConfig = field(default_factory=QuantizeConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    validate: ValidateConfig = field(default_factory=ValidateConfig)
    seed: int = 0
    quick: bool = False
    version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        _require(
            0 < len(self.runtimes) == len(set(self.runtimes)),
            "runtimes",
            list(self.runtimes),
            f"one or several of {', '.join(RUNTIME_NAMES)}, each once",
        )
        general = self.distill.general.data
        _require(
            general is None or self.task != "image-classification",
            "distill.general.data",
            general,
            f"null for {self.task}; a general stage reads texts",
        )
        _require(
            self.data.unlabelled is None or self.task in ("text-classification", SCORED_TASK),
            "data.unlabelled",
            self.data.unlabelled,
            f"null for {self.task}; the teacher answers texts of text-classification and {SCORED_TASK}",
        )
        for key in ("vocabulary_size", "embedding_energy", "embedding_bytes"):
            value = getattr(self.prune, key)
            _require(
                value is None or self.task != "image-classification",
                f"prune.{key}",
                value,
                f"null for {self.task}; images have no tokens",
            )
        allowed = METRICS_OF[self.task]
        _require(
            self.metric is None or self.metric in allowed,
            "metric",
            self.metric,
            f"for {self.task} {', '.join(allowed)}",
        )
        _require(self.version == RECIPE_VERSION, "version", self.version, f"{RECIPE_VERSION} (this release)")

    def save(self, path: str | Path) -> None:
        write_text(path, yaml.dump(to_dict(self), Dumper=_Dumper, sort_keys=False, allow_unicode=True))

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Reads a recipe; raises `RecipeError` for a file that is missing or cannot be read, no YAML, or no recipe."""
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RecipeError(
                f"{path}: no such recipe file. `edgesmith compress --save-recipe FILE` writes one."
            ) from None
        except OSError as problem:
            raise RecipeError(f"{path}: cannot be read ({problem.strerror}).") from None
        except (yaml.YAMLError, UnicodeDecodeError) as problem:
            raise RecipeError(f"{path}: not valid YAML ({str(problem).splitlines()[0]}).") from None
        return from_dict(Recipe, data)


class _Dumper(yaml.SafeDumper):
    """Escapes the line breaks of Unicode, which YAML reads as plain ones; other letters stay as they are."""

    def represent_text(self, text: str) -> yaml.Node:
        is_broken = not set(text).isdisjoint("\x85\u2028\u2029")
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if is_broken else None)


_Dumper.add_representer(str, _Dumper.represent_text)


_TIME_UNITS = {"ms": 1.0, "s": 1000.0, "us": 0.001}
_SIZE_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _quantity(text: str, option: str, units: dict[str, float], example: str) -> float:
    """Number with a unit, such as ``8MB``; raises `RecipeError` with an example."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z%]*)\s*", text)
    if not match or match[2].lower() not in units:
        names = ", ".join(unit or "no unit" for unit in units)
        raise RecipeError(
            f"{option} is {text!r}; expected a number with one of: {names}. Example: {option} {example}"
        )
    return float(match[1]) * units[match[2].lower()]


def parse_drop(text: str) -> float:
    """``1%`` or ``0.01`` -> 0.01."""
    return _quantity(text, "--max-drop", {"%": 0.01, "": 1.0}, "1%")


def parse_share(option: str, text: str) -> float:
    """``50%`` or ``0.5`` -> 0.5."""
    return _quantity(text, option, {"%": 0.01, "": 1.0}, "50%")


def parse_size(text: str) -> int:
    """``8MB`` -> 8_000_000 (MB is 10^6 bytes; MiB is 2^20)."""
    return int(_quantity(text, "--max-size", dict(_SIZE_UNITS), "8MB"))


def parse_size_or_share(text: str) -> int | float:
    """``8MB`` -> 8_000_000 bytes; ``29%`` or ``0.29`` -> a share, 0.29."""
    if text.strip().lower().endswith("b"):
        return int(_quantity(text, "--size", dict(_SIZE_UNITS), "8MB"))
    return parse_share("--size", text)


def parse_latency(text: str) -> float:
    """``10ms`` -> 10.0."""
    return _quantity(text, "--max-latency", _TIME_UNITS, "10ms")


def parse_deadline(text: str) -> float:
    """``33ms`` -> 33.0."""
    return _quantity(text, "--deadline", _TIME_UNITS, "33ms")


def parse_duration(text: str) -> float:
    """``60s`` -> 60.0, as ``1min`` is."""
    return _quantity(text, "--duration", {"s": 1.0, "min": 60.0, "ms": 0.001}, "60s")


def parse_time_limit(text: str) -> float:
    """``30min`` -> 1800.0 seconds."""
    return _quantity(text, "--time-limit", {"s": 1.0, "min": 60.0, "h": 3600.0}, "30min")


def parse_misses(text: str) -> float:
    """``0.1%`` or ``0.001`` -> 0.001."""
    return _quantity(text, "--max-misses", {"%": 0.01, "": 1.0}, "0.1%")
