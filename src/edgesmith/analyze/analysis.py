"""A shape and a device -> costs by layer, predicted latency, energy and memory, and what meets a deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgesmith.analyze.cost import parameters
from edgesmith.analyze.limits import deadline_limits
from edgesmith.analyze.operators import Operator, Shape, image_pixels, is_of_images, operators
from edgesmith.analyze.roofline import (
    Ceiling,
    activation_bytes,
    ceiling,
    expected_s,
    floor_s,
    has_rates,
    traffic_bytes,
)
from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.records import Prediction, Rates
from edgesmith.records.analysis import Analysis, Bound, LayerCost, MemoryStep, Roof, UnitPrediction
from edgesmith.targets import PRECISIONS, Target
from edgesmith.targets.profile import advice_for_unknown

TOKENS = 128
"""Length of a text where none is asked for."""

TEXT_NODES = 33
"""Small operators of an exported graph of a text that make its mask and positions, each at the launch overhead of one."""

ROOFLINE = "roofline: the longer of MACs at peak and memory traffic at bandwidth, summed over operators"
FROM_RATES = "rates of kernels that `edgesmith targets calibrate` measured, summed over operators"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a shape on a device.

    Attributes:
        unit: of the device; None for its first.
        precision: None for every one that the unit executes.
        threads: cores that compute; None for all.
    """

    shape: Shape
    target: Target
    tokens: int
    unit: str | None = None
    precision: str | None = None
    threads: int | None = None

    @cached_property
    def operators(self) -> list[Operator]:
        return operators(self.shape, self.tokens)

    @property
    def unit_name(self) -> str:
        return self.unit or self.target.main_unit

    @property
    def precisions(self) -> list[str]:
        """Of the unit that is asked about; none where its profile does not say."""
        return [self.precision] if self.precision else self.executed(self.unit_name)

    def executed(self, unit: str) -> list[str]:
        return [each for each in PRECISIONS if each in (self.target.unit(unit).precisions or ())]

    def ceiling(self, precision: str, unit: str | None = None) -> Ceiling:
        return ceiling(self.operators, self.target, unit or self.unit_name, precision, self.threads)

    def computing(self, unit: str) -> int | None:
        """Threads of a prediction for a unit."""
        one = self.target.unit(unit)
        if self.threads:
            return min(self.threads, one.cores or self.threads)
        return one.rates.threads[-1] if one.rates else one.cores

    def latency_ms(self, precision: str, unit: str | None = None) -> tuple[float | None, float | None]:
        """(floor, expected), each None where it cannot be predicted."""
        name = unit or self.unit_name
        limits, rates = self.ceiling(precision, name), self.target.unit(name).rates
        floor = None if limits.is_empty else 1e3 * sum(floor_s(one, limits)[0] for one in self.operators)
        threads = self.computing(name)
        if rates is None or threads is None or not has_rates(rates, precision, threads):
            return floor, None
        body = sum(self.expected_s(one, rates, limits, threads) for one in self.operators)
        small = 0 if is_of_images(self.shape) else TEXT_NODES * rates.node_s
        return floor, 1e3 * (rates.call_s + small + body)

    def expected_s(self, operator: Operator, rates: Rates, limits: Ceiling, threads: int) -> float:
        """Seconds by measured rates; not less than the floor, because a probe's weights stay in the cache."""
        return max(floor_s(operator, limits)[0], expected_s(operator, rates, limits.precision, threads))


def ask(
    shape: Shape,
    target: Target,
    *,
    length: int | None = None,
    unit: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
) -> Question:
    """A question that makes sense.

    Args:
        length: of a text in tokens; None for 128, or as many as the model takes. An image has its own.

    Raises:
        RecipeError: a length, number of threads, unit or precision that is not known or possible.
        UnsupportedError: a precision that the unit does not execute.
    """
    unit_name = unit or target.main_unit
    target.unit(unit_name)  # an unknown unit is refused first
    if precision is not None:
        target.check_executes(unit_name, precision)
    if threads is not None:
        _check_threads(target, unit_name, threads)
    if is_of_images(shape):
        if length is not None:
            raise RecipeError(
                f"length is {length}, and the model reads images, whose length is {shape.positions}."
            )
        length = shape.positions
    elif length is not None and not 1 <= length <= shape.positions:
        raise RecipeError(f"length is {length}; allowed: 1 to {shape.positions} tokens.")
    return Question(
        shape=shape,
        target=target,
        tokens=length or min(TOKENS, shape.positions),
        unit=unit,
        precision=precision,
        threads=threads,
    )


def _check_threads(target: Target, name: str, threads: int) -> None:
    unit = target.unit(name)
    if unit.rates and threads not in unit.rates.threads:
        measured = ", ".join(map(str, unit.rates.threads))
        raise RecipeError(f"threads is {threads}; measured on {target.name!r}: {measured}.")
    most = unit.cores or threads
    if not 1 <= threads <= most:
        raise RecipeError(
            f"threads is {threads}; {name} of {target.name!r} has {most} cores. Allowed: 1 to {most}."
        )


def analyze(question: Question, *, model: str, deadline_ms: float | None = None) -> Analysis:
    """Everything that can be said of the question.

    Args:
        model: its name, for the record.
        deadline_ms: to be met by one inference.

    Raises:
        UnsupportedError: a deadline, and a profile that states too little to predict any latency from.
    """
    precision = _table_precision(question)
    shape, unit = question.shape, question.target.unit(question.unit_name)
    units = [question.unit_name] if question.unit else list(question.target.units)
    predictions = [
        predict(question, name, each)
        for name in units
        for each in ([question.precision] if question.precision else question.executed(name))
        if each in question.executed(name)
    ]
    limits = question.ceiling(precision)
    deadlines = () if deadline_ms is None else tuple(deadline_limits(question, deadline_ms))
    if deadline_ms is not None and not deadlines:
        raise UnsupportedError(
            f"no latency of {question.unit_name} on {question.target.name!r} can be predicted, so no deadline can be held "
            f"against it: neither peak nor bandwidth is known. Type: {advice_for_unknown(question.target)}"
        )
    return Analysis(
        model=model,
        target=question.target.name,
        unit=question.unit_name,
        precision=precision,
        tokens=question.tokens,
        image_pixels=image_pixels(shape) if is_of_images(shape) else None,
        parameters=parameters(shape),
        macs=sum(operator.macs for operator in question.operators),
        layers=tuple(_layers(question, precision, limits)),
        predictions=tuple(predictions),
        roof=Roof(
            macs_per_s=limits.macs_per_s,
            bytes_per_s=limits.bytes_per_s,
            source="measured by `edgesmith targets calibrate`"
            if unit.rates
            else "published, see `targets show`",
        ),
        timeline=tuple(_timeline(question, activation_bytes(precision, unit.kind))),
        deadlines=deadlines,
        notes=tuple(_notes(question, limits)),
    )


def _table_precision(question: Question) -> str:
    found = question.precisions
    if not found:
        return "fp32"
    return "int8" if "int8" in found else found[0]


def _layers(question: Question, precision: str, limits: Ceiling) -> list[LayerCost]:
    parts: dict[str, list[Operator]] = {}
    for operator in question.operators:
        parts.setdefault(operator.part, []).append(operator)
    others = {each: question.ceiling(each) for each in question.precisions}
    return [_layer(name, found, question, precision, limits, others) for name, found in parts.items()]


def _layer(
    name: str,
    found: Sequence[Operator],
    question: Question,
    precision: str,
    limits: Ceiling,
    others: dict[str, Ceiling],
) -> LayerCost:
    macs, traffic = sum(one.macs for one in found), sum(traffic_bytes(one, limits) for one in found)
    rates, threads = question.target.unit(question.unit_name).rates, question.computing(question.unit_name)
    expected = {
        each: 1e3 * sum(question.expected_s(one, rates, other, threads) for one in found)
        for each, other in others.items()
        if rates and threads and has_rates(rates, each, threads)
    }
    return LayerCost(
        name=name,
        macs=macs,
        weight_bytes=round(sum(one.read_bytes(precision) for one in found)),
        activation_bytes=round(limits.activation_bytes * sum(one.read + one.written for one in found)),
        traffic_bytes=round(traffic),
        intensity=macs / traffic if traffic else None,
        bound=_bound(found, limits),
        floor_ms={
            each: None if one.is_empty else 1e3 * sum(floor_s(op, one)[0] for op in found)
            for each, one in others.items()
        },
        expected_ms=expected,
    )


def _bound(found: Sequence[Operator], limits: Ceiling) -> Bound:
    """What most of the floor's time is spent on."""
    spent: dict[Bound, float] = {}
    for operator in found:
        seconds, bound = floor_s(operator, limits)
        spent[bound] = spent.get(bound, 0.0) + seconds
    return max(spent, key=lambda bound: spent[bound])


def predict(question: Question, unit: str, precision: str) -> UnitPrediction:
    """The model on one unit in one precision."""
    target, limits = question.target, question.ceiling(precision, unit)
    floor_ms, expected_ms = question.latency_ms(precision, unit)
    weights = sum(one.stored_bytes(precision) for one in question.operators)
    live = max(one.live for one in question.operators) * limits.activation_bytes
    latency_ms = floor_ms if expected_ms is None else expected_ms
    basis = ROOFLINE if expected_ms is None else FROM_RATES

    macs = sum(one.macs for one in question.operators)
    used = macs / limits.macs_per_s / latency_ms * 1e3 if limits.macs_per_s and latency_ms else None
    energy = target.power_max_w * latency_ms if target.power_max_w and latency_ms else None
    rate = 1e3 / latency_ms if latency_ms else None
    return UnitPrediction(
        unit=unit,
        precision=precision,
        threads=question.computing(unit) if target.unit(unit).kind == "cpu" else None,
        weight_bytes=round(weights),
        floor=_prediction(target, "latency floor", floor_ms, "ms", ROOFLINE),
        expected=_prediction(target, "latency expected", expected_ms, "ms", FROM_RATES),
        utilisation=_prediction(
            target, "utilisation", used, "fraction", f"MACs at peak over latency; {basis}"
        ),
        energy=_prediction(target, "energy", energy, "mJ", f"highest power of the device x latency; {basis}"),
        rate=_prediction(target, "rate", rate, "1/s", f"1 / latency; {basis}"),
        peak_memory=Prediction(
            name="peak memory",
            value=weights + live,
            unit="bytes",
            model="weights and the most activations that are live at once; no runtime, no copies",
            target=target.name,
        ),
        bandwidth_share=_bandwidth_share(question, limits, floor_ms),
        notes=tuple(_lacking(target, unit, limits)),
    )


def _prediction(target: Target, name: str, value: float | None, unit: str, how: str) -> Prediction | None:
    if value is None:
        return None
    return Prediction(name=name, value=value, unit=unit, model=how, target=target.name)


def _bandwidth_share(question: Question, limits: Ceiling, floor_ms: float | None) -> float | None:
    if not floor_ms or limits.macs_per_s is None or limits.bytes_per_s is None:
        return None
    found = [floor_s(one, limits) for one in question.operators]
    return sum(seconds for seconds, bound in found if bound == "bandwidth") * 1e3 / floor_ms


def _lacking(target: Target, unit: str, limits: Ceiling) -> list[str]:
    notes = []
    if limits.macs_per_s is None:
        notes.append(
            f"no peak is published for {limits.precision} on {unit}: the floor is that of bandwidth alone"
        )
    if limits.bytes_per_s is None:
        notes.append("no memory bandwidth is known: the floor is that of computing alone")
    if limits.is_empty:
        notes = [f"neither peak nor bandwidth is known of {unit}. Type: {advice_for_unknown(target)}"]
    return notes


def _timeline(question: Question, element_bytes: float) -> list[MemoryStep]:
    return [
        MemoryStep(part=one.part, operator=one.name, live_bytes=round(element_bytes * one.live))
        for one in question.operators
    ]


def _notes(question: Question, limits: Ceiling) -> list[str]:
    target, unit = question.target, question.target.unit(question.unit_name)
    notes = []
    if unit.precisions is None:
        notes.append(f"nothing is known of {target.name!r}: counts only. Type: {advice_for_unknown(target)}")
        return notes
    if limits.keeps_weights:
        notes.append("the last-level cache holds all weights that an inference reads: none come from memory")
    elif limits.cache_bytes is None:
        notes.append(
            "no cache size is known: activations are taken to stay in a cache, weights to come from memory"
        )
    if unit.rates is None:
        notes.append(
            "no rates were measured on it, so there is a floor only. On the device: edgesmith targets calibrate"
        )
    elif unit.rates.warnings:
        notes.append(f"rates were measured on a noisy machine: {'; '.join(unit.rates.warnings)}")
    if target.power_max_w is None:
        notes.append("no power envelope is published for the device as a whole, so no energy is predicted")
    if unit.kind != "cpu":
        notes.append(f"edgesmith writes no bundle for {question.unit_name} of {target.name!r} yet")
    return notes
