"""What `edgesmith sensitivity` and `edgesmith quantize` found."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.records.plan import LayerKind, Plan, Scheme

NO_NUMBER = 1e9
"""Divergence in nats of outputs that are NaN or infinite: more than any plan may cost."""


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """What the outputs suffer when one part of one layer is quantized, in nats: mean KL divergence to the reference.

    Attributes:
        parameters: of its weight.
        macs: for a calibration row, in the mean.
        weights: of its weight alone, by what it is stored in, such as ``int8 per_channel``.
        activations: of its inputs alone, by how they become INT8: ``dynamic``, ``static`` or ``dynamic per_block``; none of
            an embedding table.
        vanished_weights: share of the weights other than 0 that become 0, by what they are stored in.
        vanished_inputs: the same of its inputs under `input_range`.
        input_range: in which static INT8 tells inputs apart.
        vanished_outputs, output_range: the same of its outputs, where a runtime's static layers give INT8.
    """

    layer: str
    kind: LayerKind
    parameters: int
    macs: float
    weights: dict[str, float]
    activations: dict[str, float]
    vanished_weights: dict[str, float]
    vanished_inputs: float
    input_range: tuple[float, float] | None = None
    vanished_outputs: float = 0.0
    output_range: tuple[float, float] | None = None

    def under(self, scheme: Scheme) -> float:
        """Of both parts; small divergences add up, as long as the errors behind them do not point the same way."""
        if not scheme.is_integer:
            return 0.0
        return self.weights[scheme.stored] + self.activations.get(scheme.arriving, 0.0)


@dataclass(frozen=True, kw_only=True)
class Sensitivities:
    """What `edgesmith sensitivity` found.

    Attributes:
        rows: validation rows that it was measured on, without their labels.
        range_rows: training rows that ranges and MACs come from.
        wall_s: seconds, with opening model and data.
    """

    model: str
    runtime: str
    rows: int
    range_rows: int
    observer: str
    layers: tuple[LayerSensitivity, ...]
    wall_s: float
    schema_version: int = 1


@dataclass(frozen=True, kw_only=True)
class PlanTrial:
    """A plan that was tried on validation rows, in PyTorch.

    Attributes:
        divergence: in nats, summed over the layers, each measured alone.
        bytes: predicted, of weights and graph.
        drop: of the metric.
        raised: the layer that had to give up its precision before this trial.
    """

    divergence: float
    bytes: int
    drop: float
    raised: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlanTraining:
    """Of the plan that lost least, where none kept the drop.

    Attributes:
        before, after: loss of the metric, on the validation rows on which plans were tried, in PyTorch.
        is_kept: the trained weights are in the file, and in the folder's ``model/``; others lost no less than those that came.
        rows: training rows, with those that have no labels.
        wall_s: seconds, without those of a try that was stopped.
    """

    before: float
    after: float
    is_kept: bool
    epochs: float
    rows: int
    steps: int
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What `edgesmith quantize` did.

    Attributes:
        folder: of the result; `bundle` is inside.
        reference, quality: the metric on the validation rows, of the model as it came and of the written file.
        drop_ci95: interval of their difference.
        failures: what is not met, in sentences.
        tried_rows: validation rows on which plans were tried; `tries_others`, unless some of them are among those that layers were
            measured on.
        training: of the plan; None where a plan kept the drop, or none was asked for.
        macs: share of the MACs by what the inputs are: ``static_int8``, ``dynamic_int8`` or ``none``.
        int8_macs, static_macs: least shares that were asked for.
        baseline_bytes: of the model's weights in FP32.
        max_bytes, bytes: allowed and reached, of weights and graph.
        sqnr_db: how near the file's logits are to those of the same plan in PyTorch; None where they are equal.
        wall_s: seconds of each stage.
        fp32_predicted_ms, predicted_ms: latency on `target` in FP32 and under the plan; None where it was not limited. Nothing
            was timed.
    """

    model: str
    runtime: str
    uniform: str | None
    folder: str
    bundle: str
    metric: str
    validation_rows: int
    reference: float
    quality: float
    drop: float
    drop_ci95: tuple[float, float]
    max_drop: float
    agreement: float
    passed: bool
    failures: tuple[str, ...]
    plan: Plan
    sensitivities: Sensitivities
    trials: tuple[PlanTrial, ...]
    max_trials: int
    tried_rows: int
    tries_others: bool
    macs: dict[str, float]
    int8_macs: float
    static_macs: float
    baseline_bytes: int
    max_bytes: int
    bytes: int
    sqnr_db: float | None
    wall_s: dict[str, float]
    target: str | None = None
    fp32_predicted_ms: float | None = None
    predicted_ms: float | None = None
    training: PlanTraining | None = None
    schema_version: int = 1
