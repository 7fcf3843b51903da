"""Models of the zoo side by side: what was measured in one interleaved run, beside what the survey says."""

from __future__ import annotations

from dataclasses import dataclass

from edgesmith.records.measurement import Environment, LatencySample


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One model, exported in FP32 and with every weight matrix in INT8.

    Attributes:
        parameters: with the head.
        macs: for one input of the comparison's length.
        fp32_bytes, int8_bytes: of the runtime's file, measured.
        fp32_ms, int8_ms: latency, measured.
        fp32_ratio, int8_ratio: p50 of the comparison's first model over this one's, in the same precision.
        survey_ratio: the same from the latencies that the survey tabulates.
    """

    name: str
    parameters: int
    macs: int
    fp32_bytes: int
    int8_bytes: int
    fp32_ms: LatencySample
    int8_ms: LatencySample
    fp32_ratio: float
    int8_ratio: float
    survey_ratio: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models that were timed together.

    Attributes:
        models: in the order asked for; the first is what the ratios refer to.
        weights: what the weights are: nothing here speaks of accuracy.
        length: of every input in tokens.
        inputs: different inputs, of random tokens, the same for every model.
        rounds: timed passes over them.
        cpu_share: as in `Latencies`.
        date: of the measurement, as YYYY-MM-DD.
    """

    models: tuple[ComparedModel, ...]
    weights: str
    runtime: str
    length: int
    inputs: int
    rounds: int
    threads: int
    seed: int
    cpu_share: float
    date: str
    environment: Environment
    batch: int = 1
