from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgesmith.errors import RecipeError
from edgesmith.recipe import CANDIDATES, Budget, SearchConfig
from edgesmith.records import Candidate, EncoderShape, Structure
from edgesmith.search.structure import (
    LADDER,
    RANK_MULTIPLE,
    Effort,
    build_order,
    cost,
    ladder,
    misses,
    rank_of_bytes,
    rank_of_energy,
    try_candidates,
)

MINILM = EncoderShape(
    vocab=30522,
    hidden=384,
    head_dim=32,
    heads=(12,) * 6,
    neurons=(1536,) * 6,
    embedding_rank=384,
    positions=128,
)
DROPS = {"tiny": 0.06, "small": 0.03, "medium": 0.012, "large": 0.004, "full": 0.0}
SIZES = {"tiny": 2, "small": 3, "medium": 4, "large": 6, "full": 12}  # MB
LATENCIES = {"tiny": 0.5, "small": 0.8, "medium": 1.0, "large": 2.0, "full": 4.0}  # ms
EFFORT = Effort(trial_steps=100, full_steps=400)  # half of a trial's drop is expected to stay


def candidate(name: str, **changes: object) -> Candidate:
    settings = {
        "name": name,
        "structure": Structure(depth=1),
        "shape": MINILM,
        "size_bytes": SIZES.get(name, 1) * 10**6,
        "latency_ms": LATENCIES.get(name, 1.0),
        "latency_is_measured": True,
    }
    return Candidate(**settings | changes)


def tried(
    budget: Budget, *, min_trials: int = 3, max_trials: int = 5, overhead_bytes: int = 0
) -> list[Candidate]:
    return try_candidates(
        [candidate(name) for name in reversed(DROPS)],
        budget,
        EFFORT,
        trial=lambda one: DROPS[one.name],
        bounds=SearchConfig(min_trials=min_trials, max_trials=max_trials),
        overhead_bytes=overhead_bytes,
    )


def first_built(budget: Budget, **settings: int) -> str:
    return build_order(tried(budget, **settings), budget, EFFORT, overhead_bytes=0)[0].name


def test_the_ladder_has_the_candidates_that_are_asked_for():
    assert tuple(LADDER) == CANDIDATES
    rungs = ladder(MINILM, 9000, names=("full", "small"))
    assert rungs == {name: ladder(MINILM, 9000)[name] for name in ("small", "full")}


def test_the_ladder_rises_from_a_third_of_the_layers_to_the_whole_teacher():
    rungs = ladder(MINILM, 9000)
    assert list(rungs) == list(LADDER) == ["tiny", "small", "medium", "large", "full"]
    assert [structure.depth for structure, _ in rungs.values()] == [2, 3, 3, 4, 6]
    assert [structure.embedding_rank for structure, _ in rungs.values()] == [96, 128, 128, 128, None]
    for structure, shape in rungs.values():
        assert shape.vocab == 9000
        assert shape.depth == structure.depth
        assert shape.heads == (round(12 * structure.heads),) * shape.depth
        assert shape.embedding_rank == (structure.embedding_rank or 384)
        assert (shape.hidden, shape.head_dim, shape.positions) == (384, 32, 128)
    assert [shape.neurons for _, shape in rungs.values()] == [
        (768, 768),
        (768, 768, 768),
        (768, 768, 1536),
        (1536,) * 4,
        (1536,) * 6,
    ]
    assert rungs["full"][1] == EncoderShape(**{**vars(MINILM), "vocab": 9000})


def test_a_rank_that_is_asked_for_is_every_candidates():
    rungs = ladder(MINILM, 9000, rank=208)
    assert {structure.embedding_rank for structure, _ in rungs.values()} == {208}
    assert {shape.embedding_rank for _, shape in rungs.values()} == {208}
    for rank in (384, 400):  # as many as the table has
        rungs = ladder(MINILM, 9000, rank=rank)
        assert {structure.embedding_rank for structure, _ in rungs.values()} == {None}
        assert {shape.embedding_rank for _, shape in rungs.values()} == {384}


@pytest.mark.parametrize(("share", "rank"), [(0.2, 16), (0.5, 16), (0.51, 32), (0.9, 32), (0.99, 112)])
def test_the_rank_of_an_energy_is_the_smallest_multiple_that_holds_it(share, rank):
    energy = [min(0.5, 0.1 * each) if each <= 16 else 0.9 for each in range(1, 101)] + [1.0] * 20
    assert rank_of_energy(energy, share) == rank
    assert energy[rank - 1] >= share
    assert rank == RANK_MULTIPLE or energy[rank - RANK_MULTIPLE - 1] < share


@pytest.mark.parametrize(("most", "rank"), [(160_000, 16), (319_999, 16), (320_000, 32), (1_000_000, 96)])
def test_the_rank_of_a_size_is_the_largest_multiple_that_fits(most, rank):
    assert rank_of_bytes(9616, 384, most) == rank
    assert rank * (9616 + 384) <= most < (rank + RANK_MULTIPLE) * (9616 + 384)


def test_a_size_below_the_smallest_rank_is_refused():
    message = "prune.embedding_bytes is 159999; allowed: 160000 or more, .* Type: --set prune.embedding_bytes=160000,"
    with pytest.raises(RecipeError, match=message):
        rank_of_bytes(9616, 384, 159_999)


def test_the_smallest_teacher_still_has_a_ladder():
    small = EncoderShape(
        vocab=100, hidden=8, head_dim=8, heads=(1,), neurons=(1,), embedding_rank=8, positions=16
    )
    for structure, shape in ladder(small, 50).values():
        assert structure.depth == 1
        assert shape.heads == (1,) and shape.neurons == (1,)
        assert shape.embedding_rank in (8, RANK_MULTIPLE)


def test_a_halving_of_bytes_counts_as_much_as_a_halving_of_milliseconds():
    whole = candidate("medium")
    smaller = candidate("medium", size_bytes=2 * 10**6)
    faster = candidate("medium", latency_ms=0.5)
    assert cost(smaller) == pytest.approx(cost(faster)) == pytest.approx(cost(whole) / math.sqrt(2))


def test_limits_are_inclusive_and_count_the_overhead():
    one = candidate("medium")
    assert misses(one, Budget(), 10**9) == []
    assert misses(one, Budget(max_size_bytes=4_500_000, max_latency_ms=1.0), 500_000) == []
    (size,) = misses(one, Budget(max_size_bytes=4_500_000), 500_001)
    assert size == "predicted 4.50 MB with its tokenizer, over the limit of 4.50 MB"
    size, latency = misses(one, Budget(max_size_bytes=10**6, max_latency_ms=0.25), 0)
    assert latency == "p50 1.00 ms, over the limit of 0.25 ms"


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (Budget(max_drop=0.05), "tiny"),
        (Budget(max_drop=0.02), "small"),
        (Budget(max_drop=0.01), "medium"),
        (Budget(max_drop=0.003), "large"),
        (Budget(max_drop=0.0, max_size_bytes=5_000_000), "medium"),  # nothing keeps the drop: the least drop
        (Budget(max_drop=0.02, max_size_bytes=2_500_000), "tiny"),
        (Budget(max_drop=0.003, max_latency_ms=0.9), "small"),
    ],
)
def test_the_budget_decides(budget, chosen):
    assert first_built(budget) == chosen


def test_the_overhead_changes_the_choice():
    budget = Budget(max_drop=0.01, max_size_bytes=4_500_000)
    assert first_built(budget) == "medium"
    assert first_built(budget, overhead_bytes=600_000) == "small"


def test_candidates_are_tried_from_the_cheapest_and_trials_are_bounded():
    seen = []

    def trial(one: Candidate) -> float:
        seen.append(one.name)
        return 0.04

    found = try_candidates(
        [candidate(name) for name in reversed(DROPS)],
        Budget(),
        EFFORT,
        trial=trial,
        bounds=SearchConfig(min_trials=2, max_trials=2),
        overhead_bytes=0,
    )
    assert seen == ["tiny", "small"]
    assert [one.name for one in found] == list(DROPS)
    assert [one.trial_drop for one in found] == [0.04, 0.04, None, None, None]
    assert found[2].decision == "not tried: all 2 trials were used on cheaper candidates"


def test_trials_end_when_one_is_expected_to_keep_the_budget_but_three_are_compared_in_any_case():
    names = [one.name for one in tried(Budget(max_drop=0.04)) if one.trial_drop is not None]
    assert names == ["tiny", "small", "medium"]
    assert tried(Budget(max_drop=0.04))[3].decision == (
        "not tried: 'tiny' costs less and is expected to keep the budget"
    )
    names = [one.name for one in tried(Budget(max_drop=0.002)) if one.trial_drop is not None]
    assert names == ["tiny", "small", "medium", "large"]
    assert len([one for one in tried(Budget(max_drop=0.001)) if one.trial_drop is not None]) == 5


def test_candidates_that_cannot_fit_cost_no_trial():
    found = tried(Budget(max_size_bytes=5_000_000), max_trials=4)
    assert {one.name for one in found if one.trial_drop is not None} == {"tiny", "small", "medium"}
    assert found[3].decision == "not tried: predicted 6.00 MB with its tokenizer, over the limit of 5.00 MB"


def test_where_nothing_fits_the_smallest_is_tried():
    budget = Budget(max_size_bytes=1000, max_latency_ms=0.001)
    found = tried(budget)
    assert {one.name: one.trial_drop for one in found if one.trial_drop is not None} == {"tiny": 0.06}
    assert [one.name for one in build_order(found, budget, EFFORT, overhead_bytes=0)] == ["tiny"]


def test_the_order_goes_up_from_the_first_that_is_expected_to_keep_the_budget():
    budget = Budget(max_drop=0.007)
    order = build_order(tried(budget, max_trials=5), budget, EFFORT, overhead_bytes=0)
    assert [one.name for one in order] == ["medium", "large", "full"]
    assert order[0].decision == "predicted drop after full training +0.60 points, inside the budget of 0.70"


def test_where_none_is_expected_to_keep_the_budget_the_best_is_built_and_nothing_cheaper_after_it():
    budget = Budget(max_drop=0.001, max_size_bytes=3_500_000)
    order = build_order(tried(budget), budget, EFFORT, overhead_bytes=0)
    assert [one.name for one in order] == ["small"]
    assert order[0].decision == "predicted drop after full training +1.50 points, over the budget of 0.10"


def test_equally_cheap_candidates_are_all_kept():
    twins = [candidate(name, size_bytes=10**6, latency_ms=1.0, trial_drop=0.0) for name in ("a", "b", "c")]
    assert [one.name for one in build_order(twins, Budget(), EFFORT, overhead_bytes=0)] == ["a", "b", "c"]


def test_the_expected_drop_falls_with_the_square_root_of_the_steps():
    assert EFFORT.expected_drop(0.04) == pytest.approx(0.02)
    assert Effort(trial_steps=100, full_steps=100).expected_drop(0.04) == 0.04
    assert (
        Effort(trial_steps=400, full_steps=100).expected_drop(0.04) == 0.04
    )  # a longer trial is no reason to fear
    assert EFFORT.expected_drop(-0.01) == -0.01
    assert EFFORT.expected_drop(0.0) == 0.0


def test_images_have_no_table_to_factorise():
    teacher = replace(MINILM, vocab=0, patches=16, patch_values=48, positions=17)
    rungs = ladder(teacher, 0)
    assert list(rungs) == list(LADDER)
    assert {structure.embedding_rank for structure, _ in rungs.values()} == {None}
    assert {(shape.vocab, shape.embedding_rank) for _, shape in rungs.values()} == {(0, 384)}


def test_words_of_no_training_text_share_fewer_directions():
    common, rare = ladder(MINILM, 13_126), ladder(MINILM, 28_566, rare_words=True)
    ranks = [[structure.embedding_rank for structure, _ in rungs.values()] for rungs in (common, rare)]
    assert ranks == [[96, 128, 128, 128, None], [64, 96, 96, 96, None]]
    assert rare["small"][1] == replace(common["small"][1], vocab=28_566, embedding_rank=96)
