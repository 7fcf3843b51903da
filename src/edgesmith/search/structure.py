"""Which structure: a ladder of candidates, short trials, and the cheapest that is expected to keep the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from edgesmith.errors import RecipeError
from edgesmith.recipe import CANDIDATES, Budget, CandidateName, SearchConfig
from edgesmith.records import Candidate, EncoderShape, Structure


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A candidate in fractions of its teacher.

    Attributes:
        depth: of the layers.
        rank: of the word table, over the width; None leaves the table whole.
        heads, neurons, last_neurons: as in `Structure`.
    """

    depth: float
    rank: float | None
    heads: float = 1.0
    neurons: float = 1.0
    last_neurons: float | None = None


LADDER: dict[CandidateName, Rung] = {
    "tiny": Rung(depth=1 / 3, heads=0.5, neurons=0.5, rank=1 / 4),
    "small": Rung(depth=1 / 2, heads=0.5, neurons=0.5, rank=1 / 3),
    "medium": Rung(depth=1 / 2, neurons=0.5, last_neurons=1.0, rank=1 / 3),
    "large": Rung(depth=2 / 3, rank=1 / 3),
    "full": Rung(depth=1.0, rank=None),
}

RANK_MULTIPLE = 16

RARE_WORDS_RANK = 3 / 4
"""Of a rung's rank where words stay that the training texts do not use: more rows, which matter less, share it (LOG.md)."""


def rank_of_energy(energy: Sequence[float], share: float) -> int:
    """The smallest rank, of multiples of `RANK_MULTIPLE`, that holds a share of the energy.

    Args:
        energy: for each rank from 1 on, the share that it holds.
    """
    needed = 1 + sum(held < share for held in energy)
    return math.ceil(needed / RANK_MULTIPLE) * RANK_MULTIPLE


def rank_of_bytes(vocab: int, hidden: int, most: int) -> int:
    """The largest rank, of multiples of `RANK_MULTIPLE`, whose factors have at most so many weights.

    Raises:
        RecipeError: not even the smallest does.
    """
    least = RANK_MULTIPLE * (vocab + hidden)
    if most < least:
        raise RecipeError(
            f"prune.embedding_bytes is {most}; allowed: {least} or more, the factors of rank {RANK_MULTIPLE} of a word table "
            f"of {vocab} tokens. Type: --set prune.embedding_bytes={least}, or keep fewer with --set prune.vocabulary_size"
        )
    return most // least * RANK_MULTIPLE


def ladder(
    teacher: EncoderShape,
    vocab: int,
    *,
    rare_words: bool = False,
    rank: int | None = None,
    names: Collection[CandidateName] = CANDIDATES,
) -> dict[str, tuple[Structure, EncoderShape]]:
    """The named candidates, from the smallest to the whole teacher, each with the shape it would have.

    Args:
        vocab: tokens that vocabulary trimming leaves; 0 for images, which have no table to factorise either.
        rare_words: whether some of these are in no training text.
        rank: of every candidate's word table, which stays as it is where it has no more; None takes each rung's own.
    """
    scale = RARE_WORDS_RANK if rare_words else 1.0
    asked = rank if rank is not None and rank < teacher.embedding_rank else None
    return {
        name: _scale(teacher, vocab, rung, _rank(teacher, rung, scale) if rank is None else asked)
        for name, rung in LADDER.items()
        if name in names
    }


def _rank(teacher: EncoderShape, rung: Rung, scale: float) -> int | None:
    """Of a rung's word table; None leaves it whole."""
    if rung.rank is None or not teacher.vocab:
        return None
    return max(RANK_MULTIPLE, round(teacher.hidden * rung.rank * scale / RANK_MULTIPLE) * RANK_MULTIPLE)


def _scale(teacher: EncoderShape, vocab: int, rung: Rung, rank: int | None) -> tuple[Structure, EncoderShape]:
    layers = max(1, round(teacher.depth * rung.depth))
    structure = Structure(
        depth=layers,
        heads=rung.heads,
        neurons=rung.neurons,
        last_neurons=rung.last_neurons,
        embedding_rank=rank,
    )
    last = rung.neurons if rung.last_neurons is None else rung.last_neurons
    neurons = [rung.neurons] * (layers - 1) + [last]
    shape = replace(
        teacher,
        vocab=vocab,
        heads=tuple(max(1, round(count * rung.heads)) for count in teacher.heads[:layers]),
        neurons=tuple(
            max(1, round(count * share))
            for count, share in zip(teacher.neurons[:layers], neurons, strict=True)
        ),
        embedding_rank=rank or teacher.embedding_rank,
    )
    return structure, shape


def cost(candidate: Candidate) -> float:
    """What is minimised: the geometric mean of bytes and milliseconds, so that a halving of either counts the same."""
    return math.sqrt(candidate.size_bytes * candidate.latency_ms)


def misses(candidate: Candidate, budget: Budget, overhead_bytes: int) -> list[str]:
    """Size and latency limits that the candidate cannot meet, in words.

    Args:
        overhead_bytes: of the bundle beside the model (tokenizer, manifest, script), which count against the limit.
    """
    found = []
    size = candidate.size_bytes + overhead_bytes
    if budget.max_size_bytes is not None and size > budget.max_size_bytes:
        found.append(
            f"predicted {size / 1e6:.2f} MB with its tokenizer, over the limit of {budget.max_size_bytes / 1e6:.2f} MB"
        )
    if budget.max_latency_ms is not None and candidate.latency_ms > budget.max_latency_ms:
        origin = "p50" if candidate.latency_is_measured else "predicted"
        found.append(
            f"{origin} {candidate.latency_ms:.2f} ms, over the limit of {budget.max_latency_ms:.2f} ms"
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Training steps of a trial and of a full build, between which the loss of quality is extrapolated."""

    trial_steps: int
    full_steps: int

    def expected_drop(self, trial_drop: float) -> float:
        """Predicted drop after the full training: it falls with the square root of the steps.

        A gain stays as it is. The exponent is a rule of thumb, held against measurements in LOG.md.
        """
        if trial_drop <= 0:
            return trial_drop
        return trial_drop * math.sqrt(min(1.0, self.trial_steps / self.full_steps))


def try_candidates(
    candidates: Sequence[Candidate],
    budget: Budget,
    effort: Effort,
    *,
    trial: Callable[[Candidate], float],
    bounds: SearchConfig,
    overhead_bytes: int,
) -> list[Candidate]:
    """Gives the candidates that fit the size and latency limits a short trial, cheapest first, until one is enough.

    Args:
        trial: returns the drop on validation rows after a short distillation, as a fraction.
        bounds: at least `min_trials` are tried, and more only while none is expected to keep the budget, at most
            `max_trials`.

    Returns:
        All candidates, cheapest first, with their trial's drop or the reason why they had none.
    """
    tried, trials, answer = [], 0, ""
    for candidate in sorted(candidates, key=cost):
        reasons = misses(candidate, budget, overhead_bytes)
        if reasons:
            tried.append(replace(candidate, decision=f"not tried: {'; '.join(reasons)}"))
        elif answer and trials >= bounds.min_trials:
            reason = f"not tried: '{answer}' costs less and is expected to keep the budget"
            tried.append(replace(candidate, decision=reason))
        elif trials == bounds.max_trials:
            reason = f"not tried: all {bounds.max_trials} trials were used on cheaper candidates"
            tried.append(replace(candidate, decision=reason))
        else:
            trials += 1
            drop = trial(candidate)
            tried.append(replace(candidate, trial_drop=drop))
            if effort.expected_drop(drop) <= budget.max_drop:
                answer = answer or candidate.name
    if not trials:  # nothing fits: the smallest is built anyway, so that the user gets the best there is
        smallest = min(range(len(tried)), key=lambda index: cost(tried[index]))
        tried[smallest] = replace(tried[smallest], trial_drop=trial(tried[smallest]))
    return tried


def build_order(
    candidates: Sequence[Candidate], budget: Budget, effort: Effort, *, overhead_bytes: int
) -> list[Candidate]:
    """The candidates in the order in which they are worth building, each with the reason.

    First the cheapest whose expected drop is inside the budget, or that of the least expected drop; then the dearer ones
    that fit, tried or not. A cheaper one is not built after it: it was expected to lose too much before.
    """
    tried = [candidate for candidate in candidates if candidate.trial_drop is not None]
    expected = {candidate.name: effort.expected_drop(candidate.trial_drop or 0.0) for candidate in tried}
    promising = [candidate for candidate in tried if expected[candidate.name] <= budget.max_drop]
    first = min(promising, key=cost, default=min(tried, key=lambda candidate: expected[candidate.name]))
    fitting = [candidate for candidate in candidates if not misses(candidate, budget, overhead_bytes)]
    dearer = [candidate for candidate in fitting if candidate is not first and cost(candidate) >= cost(first)]
    return [
        replace(candidate, decision=_expectation(expected.get(candidate.name), budget))
        for candidate in (first, *sorted(dearer, key=cost))
    ]


def _expectation(expected: float | None, budget: Budget) -> str:
    if expected is None:
        return "not tried; it costs more than the one before and should lose less"
    side = "inside" if expected <= budget.max_drop else "over"
    return f"predicted drop after full training {100 * expected:+.2f} points, {side} the budget of {100 * budget.max_drop:.2f}"
