"""Each loss against the formula of its paper, written out in numpy, on batches with padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgesmith.compress.losses import (
    attention_loss,
    consistency_loss,
    hidden_state_loss,
    log_relations,
    regression_loss,
    relation_heads,
    relation_loss,
)
from edgesmith.recipe import DistillConfig

LENGTHS = (4, 1, 3)
TOKENS = 5  # the last column is padding in every row
MASK = torch.tensor([[int(token < length) for token in range(TOKENS)] for length in LENGTHS])
REAL = [(row, token) for row, length in enumerate(LENGTHS) for token in range(length)]


def drawn(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def garbage(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The same with large numbers at every padding position of the given axes; axis 0 is the row."""
    spoiled = array.copy()
    for row, length in enumerate(LENGTHS):
        for axis in axes:
            place = [slice(None)] * (array.ndim - 1)
            place[axis - 1] = slice(length, None)
            spoiled[row][tuple(place)] = 1e3
    return spoiled


def relation(states: np.ndarray, row: int, query: int, head: int, heads: int) -> np.ndarray:
    """(length,) of one token in one relation head: softmax(a a^T / sqrt(d_r))."""
    size = states.shape[-1] // heads
    part = states[row, : LENGTHS[row], head * size : (head + 1) * size]
    return softmax(part @ part[query] / math.sqrt(size))


# ---- scores


def test_regression_loss_is_two_squared_errors():
    student, teacher, targets = drawn(4, seed=0), drawn(4, seed=1), drawn(4, seed=2)
    known = np.array([1, 0, 1, 1])
    soft = sum((s - t) ** 2 for s, t in zip(student, teacher, strict=True)) / 4
    hard = sum(k * (s - y) ** 2 for s, y, k in zip(student, targets, known, strict=True)) / 4
    config = DistillConfig(hard_label_weight=0.3)
    found = regression_loss(*tensors(student, teacher, targets), torch.tensor(known), config)
    assert float(found) == pytest.approx(0.7 * soft + 0.3 * hard, rel=1e-5)


def test_a_target_that_is_not_known_does_not_matter():
    student, teacher, targets = tensors(drawn(2, seed=0), drawn(2, seed=1), drawn(2, seed=2))
    config, known = DistillConfig(hard_label_weight=0.5), torch.tensor([True, False])
    other = targets + torch.tensor([0.0, 1e3])
    expected = regression_loss(student, teacher, targets, known, config)
    assert torch.equal(regression_loss(student, teacher, other, known, config), expected)


# ---- two passes


def test_consistency_loss_is_the_mean_of_both_divergences():
    first, second = drawn(4, 3, seed=0), drawn(4, 3, seed=1)
    total = 0.0
    for a, b in zip(first, second, strict=True):
        p, q = softmax(a), softmax(b)
        total += 0.5 * float(sum(p * np.log(p / q))) + 0.5 * float(sum(q * np.log(q / p)))
    assert float(consistency_loss(*tensors(first, second))) == pytest.approx(total / 4, rel=1e-5)


def test_consistency_loss_of_scores_is_a_squared_difference():
    first, second = drawn(4, 1, seed=0), drawn(4, 1, seed=1)
    assert float(consistency_loss(*tensors(first, second))) == pytest.approx(np.mean((first - second) ** 2))


# ---- hidden states


def test_hidden_state_loss_is_the_mean_square_over_real_tokens():
    ours, theirs = [drawn(3, TOKENS, 4, seed=seed) for seed in (0, 1)], [drawn(3, TOKENS, 4, seed=2)] * 2
    expected = np.mean(
        [
            ((a[row, token] - b[row, token]) ** 2).mean()
            for a, b in zip(ours, theirs, strict=True)
            for row, token in REAL
        ]
    )
    found = hidden_state_loss(tensors(*ours), tensors(*theirs), MASK)
    assert float(found) == pytest.approx(expected, rel=1e-5)


# ---- attention


def test_attention_loss_is_the_mean_square_over_real_pairs():
    """TinyBERT, equation 7: the mean over heads of MSE(A_S, A_T)."""
    ours = [drawn(3, 2, TOKENS, TOKENS, seed=seed) for seed in (0, 1)]
    theirs = [drawn(3, 2, TOKENS, TOKENS, seed=seed) for seed in (2, 3)]
    expected = np.mean(
        [
            (a[row, head, query, key] - b[row, head, query, key]) ** 2
            for a, b in zip(ours, theirs, strict=True)
            for row, length in enumerate(LENGTHS)
            for head in range(2)
            for query in range(length)
            for key in range(length)
        ]
    )
    found = attention_loss(tensors(*ours), tensors(*theirs), MASK)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_attention_loss_does_not_see_padding():
    ours, theirs = drawn(3, 2, TOKENS, TOKENS, seed=0), drawn(3, 2, TOKENS, TOKENS, seed=1)
    expected = attention_loss(tensors(ours), tensors(theirs), MASK)
    for axes in ((2,), (3,), (2, 3)):
        assert torch.equal(attention_loss(tensors(garbage(ours, axes)), tensors(theirs), MASK), expected)


# ---- relations


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_relation_loss_is_the_formula(heads):
    """MiniLMv2, section 3.1: KL(teacher, student) over relation heads and tokens, summed over Q-Q, K-K and V-V.

    The student is of width 8, the teacher of width 12: relations are compared, not vectors.
    """
    ours = [drawn(3, TOKENS, 8, seed=seed) for seed in (0, 1, 2)]
    theirs = [drawn(3, TOKENS, 12, seed=seed) for seed in (3, 4, 5)]
    expected = 0.0
    for a, b in zip(ours, theirs, strict=True):
        for row, token in REAL:
            for head in range(heads):
                p = relation(b, row, token, head, heads)
                q = relation(a, row, token, head, heads)
                expected += (p * np.log(p / q)).sum() / (heads * len(REAL))
    found = relation_loss(tensors(*ours), tensors(*theirs), MASK, heads)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert expected > 0.1


def test_relation_loss_does_not_see_padding():
    ours = [drawn(3, TOKENS, 8, seed=seed) for seed in (0, 1, 2)]
    theirs = [drawn(3, TOKENS, 8, seed=seed) for seed in (3, 4, 5)]
    expected = relation_loss(tensors(*ours), tensors(*theirs), MASK, 2)
    spoiled = tensors(*(garbage(states, (1,)) for states in ours))
    assert torch.equal(relation_loss(spoiled, tensors(*theirs), MASK, 2), expected)


def test_a_row_of_padding_alone_adds_nothing():
    """As where two tokenizers cut a row differently: nothing of it is comparable."""
    ours, theirs = ([torch.tensor(drawn(2, 3, 4, seed=seed)) for seed in seeds] for seeds in ((0,), (1,)))
    first = [states[:1] for states in ours], [states[:1] for states in theirs]
    alone = relation_loss(*first, torch.ones(1, 3), 2)
    both = relation_loss(ours, theirs, torch.tensor([[1, 1, 1], [0, 0, 0]]), 2)
    assert float(both) == pytest.approx(float(alone), rel=1e-6)
    assert float(relation_loss(ours, theirs, torch.zeros(2, 3), 2)) == 0.0


def test_a_teacher_has_no_relation_loss_against_itself_and_a_gradient_towards_itself():
    teacher = tensors(drawn(3, TOKENS, 8, seed=0))
    assert float(relation_loss(teacher, teacher, MASK, 4)) == pytest.approx(0.0, abs=1e-6)
    student = tensors(drawn(3, TOKENS, 8, seed=1))[0].requires_grad_()
    relation_loss([student], teacher, MASK, 4).backward()
    assert student.grad.abs().sum() > 0
    assert student.grad[MASK == 0].abs().max() == 0
    stepped = (student - 0.5 * student.grad).detach()
    assert relation_loss([stepped], teacher, MASK, 4) < relation_loss([student], teacher, MASK, 4)


def test_relations_are_computed_in_full_precision_under_autocast():
    states = tensors(4 * drawn(3, TOKENS, 8, seed=0))[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = log_relations(states, MASK, 2)
    assert torch.equal(found, log_relations(states, MASK, 2))


@pytest.mark.parametrize(
    ("most", "widths", "heads"),
    [(48, (384, 768), 48), (64, (384, 768), 64), (48, (384, 224), 32), (12, (96, 64), 8), (5, (7, 9), 1)],
)
def test_relation_heads_divide_both_widths(most, widths, heads):
    assert relation_heads(most, *widths) == heads
