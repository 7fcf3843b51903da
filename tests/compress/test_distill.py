from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures_models import logits_of, random_batch, tiny_compact, toy_rows, whole_compact

from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.losses import hidden_state_loss, soft_label_loss
from edgesmith.compress.match import layer_map
from edgesmith.compress.structure import keep_layers
from edgesmith.data.encoding import EncodedExamples
from edgesmith.recipe import DistillConfig


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True)


def random_logits(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, 3))


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.0), (2.0, 0.1), (4.0, 0.5), (3.0, 1.0)])
def test_soft_label_loss_is_the_formula(temperature, weight):
    student, teacher, labels = random_logits(0), random_logits(1), np.array([0, 1, 2, 2, 1, 0])
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = (p * np.log(p / q)).sum(axis=-1).mean()
    hard = -np.log(softmax(student)[np.arange(6), labels]).mean()
    expected = (1 - weight) * temperature**2 * soft + weight * hard
    config = DistillConfig(temperature=temperature, hard_label_weight=weight)
    found = soft_label_loss(torch.tensor(student), torch.tensor(teacher), torch.tensor(labels), config)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_a_student_that_equals_its_teacher_has_no_soft_loss():
    logits = torch.tensor(random_logits(0))
    loss = soft_label_loss(
        logits, logits, torch.zeros(6, dtype=torch.int64), DistillConfig(hard_label_weight=0.0)
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("temperature", [2.0, 50.0])
def test_the_gradient_keeps_its_size_when_the_temperature_changes(temperature):
    """dKL/dz = (q - p) / T before the factor T^2 (Hinton et al. 2015, equation 2); q - p itself falls with T."""
    student = torch.tensor(random_logits(0), requires_grad=True)
    teacher = random_logits(1)
    config = DistillConfig(temperature=temperature, hard_label_weight=0.0)
    soft_label_loss(student, torch.tensor(teacher), torch.zeros(6, dtype=torch.int64), config).backward()
    p, q = softmax(teacher / temperature), softmax(student.detach().numpy() / temperature)
    np.testing.assert_allclose(student.grad.numpy(), temperature * (q - p) / 6, rtol=1e-9)
    if temperature == 50.0:  # the limit: (z - v) / classes of centred logits (Hinton et al. 2015, equation 4)
        centred = [
            logits - logits.mean(axis=-1, keepdims=True) for logits in (student.detach().numpy(), teacher)
        ]
        np.testing.assert_allclose(student.grad.numpy(), (centred[0] - centred[1]) / 3 / 6, atol=5e-3)


def test_hidden_state_loss_skips_padding():
    student = [torch.tensor([[[1.0, 3.0], [5.0, 5.0]]]), torch.zeros(1, 2, 2)]
    teacher = [torch.tensor([[[0.0, 1.0], [9.0, 9.0]]]), torch.tensor([[[2.0, 0.0], [7.0, 7.0]]])]
    real = torch.tensor([[1, 0]])
    first, second = (1**2 + 2**2) / 2, (2**2 + 0**2) / 2
    assert float(hidden_state_loss(student, teacher, real)) == pytest.approx((first + second) / 2)
    both = torch.tensor([[1, 1]])
    first, second = (first + 4**2) / 2, (second + 7**2) / 2
    assert float(hidden_state_loss(student, teacher, both)) == pytest.approx((first + second) / 2)
    assert float(hidden_state_loss(student, teacher, torch.zeros(1, 2))) == 0.0


@pytest.mark.parametrize(
    ("teacher", "student", "followed"),
    [
        (6, 3, [1, 3, 5]),
        (12, 4, [2, 5, 8, 11]),
        (6, 4, [1, 2, 3, 5]),
        (12, 8, [1, 2, 3, 5, 7, 8, 9, 11]),
        (6, 1, [5]),
        (5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_layer_map(teacher, student, followed):
    assert layer_map(teacher, student) == followed


def test_layer_maps_rise_and_end_on_the_last_layer():
    for teacher in range(1, 25):
        for student in range(1, teacher + 1):
            followed = layer_map(teacher, student)
            assert followed == sorted(set(followed)) and followed[-1] == teacher - 1


def test_predicted_logits_are_in_the_rows_order():
    model, rows = tiny_compact(), toy_rows(13, seed=0)
    found = predict_logits(model, rows, batch_size=4)
    for row in range(13):
        torch.testing.assert_close(found[row : row + 1], logits_of(model, rows.collate([rows[row]])))


def test_the_teacher_runs_only_for_hidden_states():
    teacher, batch = whole_compact(), random_batch()
    student = keep_layers(teacher, [0, 2])
    table = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    calls = []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    config = DistillConfig(hidden_weight=0.0)
    loss, output = TaskLoss(student, teacher, table, config)(student, batch)
    expected = soft_label_loss(output.logits, table, batch["labels"], config)
    assert not calls
    assert torch.equal(loss, expected)


def test_hidden_states_of_matched_layers_are_compared():
    teacher, batch, config = whole_compact(), random_batch(), DistillConfig(hidden_weight=3.0)
    student = keep_layers(whole_compact(seed=5), [0, 1])
    table = logits_of(teacher, batch)
    loss, output = TaskLoss(student, teacher, table, config)(student, batch)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    theirs = teacher(**inputs, output_hidden_states=True).hidden_states
    hidden = hidden_state_loss(output.hidden_states[1:], [theirs[2], theirs[3]], batch["attention_mask"])
    soft = soft_label_loss(output.logits, table, batch["labels"], config)
    assert loss.item() == pytest.approx((soft + 3 * hidden).item(), rel=1e-6)


def test_a_copy_of_the_teacher_has_nothing_to_learn():
    teacher, batch = whole_compact(), random_batch()
    config = DistillConfig(hard_label_weight=0.0)
    student = keep_layers(teacher, [0, 1, 2])
    loss, _ = TaskLoss(student, teacher, logits_of(teacher, batch), config)(student, batch)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_rows_that_two_tokenizers_cut_differently_are_left_out_of_the_hidden_loss():
    """The second row has more tokens for the student; the first has the same under other ids."""
    teacher = whole_compact()
    rows = EncodedExamples(
        [[5, 6, 7], [5, 6, 8, 9]], [0, 1], None, 0, teacher_ids=[[15, 16, 17], [25, 26, 27]]
    )
    student, batch = keep_layers(teacher, [0, 1, 2]), rows.collate([rows[0], rows[1]])
    config = DistillConfig(hidden_weight=1.0)
    loss, output = TaskLoss(student, teacher, torch.zeros(2, 2), config)(student, batch)
    alone = teacher(torch.tensor([[15, 16, 17]]), output_hidden_states=True).hidden_states
    hidden = hidden_state_loss(
        [state[:1, :3] for state in output.hidden_states[1:]], alone[1:], torch.ones(1, 3)
    )
    soft = soft_label_loss(output.logits, torch.zeros(2, 2), batch["labels"], config)
    assert hidden.item() > 1e-3
    assert loss.item() == pytest.approx((soft + hidden).item(), rel=1e-5)
