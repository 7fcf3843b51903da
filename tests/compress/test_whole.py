"""Models that have no compact form train as they are: from labels, and from a teacher's logits."""

from __future__ import annotations

import pytest
import torch
from fixtures_models import tiny_bert, tiny_mobilebert, toy_rows, whole_compact

from edgesmith.compress.distill import TaskLoss, predict_logits
from edgesmith.compress.quantize import mean_divergence
from edgesmith.compress.training import train
from edgesmith.recipe import DistillConfig, TrainingConfig
from edgesmith.records import SilentProgress

MAKERS = {
    "mobilebert": tiny_mobilebert,
    "mobilebert-tiny": lambda: tiny_mobilebert(
        use_bottleneck_attention=True, key_query_shared_bottleneck=False
    ),
    "bert": tiny_bert,
}


def learn(model, config, folder, **options):
    return train(
        model, toy_rows(160, seed=1), toy_rows(40, seed=2), config,
        folder=folder, seed=0, progress=SilentProgress(), title="learning", **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mobilebert", "mobilebert-tiny"])
def test_it_learns_labels_and_comes_back_from_its_folder(name, tmp_path):
    model = MAKERS[name]()
    config = TrainingConfig(epochs=12, learning_rate=3e-3, batch_size=16, evaluations=4)
    assert learn(model, config, tmp_path / "checkpoints").score >= 0.9
    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model").eval()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    unseen = toy_rows(40, seed=3)
    predicted = predict_logits(again, unseen).argmax(dim=-1)
    assert (predicted == torch.tensor(unseen.labels)).double().mean() >= 0.9


@pytest.mark.parametrize("name", MAKERS)
def test_it_learns_a_teachers_logits(name, tmp_path):
    """Against a teacher whose answers are not the labels, so that nothing but its logits can teach them."""
    teacher, student = whole_compact(seed=5), MAKERS[name]()
    rows = toy_rows(160, seed=1)
    logits = predict_logits(teacher, rows)
    wanted = logits.log_softmax(dim=-1)
    before = mean_divergence([wanted], [predict_logits(student, rows)])
    config = DistillConfig(
        epochs=8, learning_rate=2e-3, batch_size=16, evaluations=1, hidden_weight=0.0, hard_label_weight=0.0,
        augmented_rows=0.0,
    )  # fmt: skip
    loss = TaskLoss(student, teacher, logits, config)
    learn(student, config, tmp_path / "checkpoints", loss=loss)
    after = mean_divergence([wanted], [predict_logits(student, rows)])
    assert after < 0.5 * before
