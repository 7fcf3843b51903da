"""The sum of the losses between the insides of two models, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from fixtures_images import random_pixels, tiny_vit
from fixtures_models import logits_of, random_batch, tiny_bert, tiny_compact, toy_rows, whole_compact
from transformers import set_seed

from edgesmith.compress.distill import GeneralLoss, TaskLoss
from edgesmith.compress.losses import hidden_state_loss, regression_loss
from edgesmith.compress.match import Match, Projections, check_match, layer_map
from edgesmith.compress.structure import keep_layers
from edgesmith.compress.training import train
from edgesmith.data.encoding import model_inputs
from edgesmith.errors import RecipeError
from edgesmith.models import shape_of, to_compact, to_compact_vit
from edgesmith.models.device import use_bf16
from edgesmith.recipe import DistillConfig, GeneralConfig, MatchConfig, TrainingConfig
from edgesmith.records import SilentProgress


def wide_compact():
    """A teacher of four layers and width 48, of 6 heads of 8."""
    return to_compact(tiny_bert(seed=3, hidden_size=48, num_hidden_layers=4, num_attention_heads=6))


def found(student, teacher, batch, config, **more):
    """The loss, and the object that computed it."""
    match = Match(student, teacher, config, **more)
    inputs = model_inputs(batch)
    seen = match.run_student(student, inputs), match.run_teacher(inputs)
    return match.loss(*seen, batch["attention_mask"]), match


def scores_by_hand(model, batch, layer):
    """(B, heads, S, S) from the hidden states before a layer."""
    states = model(**model_inputs(batch), output_hidden_states=True).hidden_states[layer]
    attention = model.layers[layer].attention
    rows, tokens = states.shape[:2]
    query, key, _ = F.linear(states, attention.qkv.weight, attention.qkv.bias).chunk(3, dim=-1)
    split = [part.view(rows, tokens, attention.heads, 8).permute(0, 2, 1, 3) for part in (query, key)]
    return split[0] @ split[1].mT / 8**0.5


def real_pairs(batch):
    mask = batch["attention_mask"].bool()
    return mask[:, None, :, None] & mask[:, None, None, :]  # (B, 1, S, S)


# ---- each term


def test_attention_scores_of_matched_layers_are_compared():
    teacher, batch = whole_compact(), random_batch()
    student = keep_layers(whole_compact(seed=5), [0, 1])
    loss, match = found(student, teacher, batch, MatchConfig(attention_weight=2.0))
    assert match.followed == [1, 2]
    pairs, errors = real_pairs(batch), []
    for ours, theirs in ((0, 1), (1, 2)):
        error = (scores_by_hand(student, batch, ours) - scores_by_hand(teacher, batch, theirs)) ** 2
        errors.append(error[pairs.expand_as(error)].mean())
    assert loss.item() == pytest.approx(2 * torch.stack(errors).mean().item(), rel=1e-4)


def test_outputs_of_the_embedding_layers_are_compared():
    teacher, student, batch = whole_compact(), whole_compact(seed=5), random_batch()
    loss, _ = found(student, teacher, batch, MatchConfig(embedding_weight=0.5))
    types = batch["token_type_ids"]
    ours, theirs = (model.embeddings(batch["input_ids"], types) for model in (student, teacher))
    error = ((ours - theirs) ** 2)[batch["attention_mask"].bool()].mean()
    assert loss.item() == pytest.approx(0.5 * error.item(), rel=1e-5)


@pytest.mark.parametrize("layer", [None, 1])
def test_the_students_last_layer_follows_the_relations_of_the_layer_that_is_named(layer):
    teacher, batch = wide_compact(), random_batch()
    student = keep_layers(whole_compact(), [0, 1])
    config = MatchConfig(relation_weight=1.0, relation_layer=layer)
    loss, _ = found(student, teacher, batch, config)
    assert loss.item() > 1e-3
    others = [MatchConfig(relation_weight=1.0, relation_layer=other) for other in range(4)]
    losses = [found(student, teacher, batch, other)[0].item() for other in others]
    assert loss.item() == losses[3 if layer is None else layer]
    assert len(set(losses)) == 4


def test_terms_add_up_and_padding_does_not_matter():
    teacher, student = whole_compact(), whole_compact(seed=5)
    batch, keys = random_batch(), ("hidden", "attention", "embedding", "relation")
    alone = [found(student, teacher, batch, MatchConfig(**{f"{key}_weight": 1.0}))[0] for key in keys]
    config = MatchConfig(**{f"{key}_weight": 1.0 for key in keys})
    together = found(student, teacher, batch, config)[0]
    assert together.item() == pytest.approx(sum(alone).item(), rel=1e-6)
    padding = torch.where(batch["attention_mask"] == 1, batch["input_ids"], 5)
    other = found(student, teacher, batch | {"input_ids": padding}, config)[0]
    assert other.item() == pytest.approx(together.item(), rel=1e-6)


def test_a_row_weighs_the_same_however_far_it_is_padded():
    teacher, student, batch = whole_compact(), whole_compact(seed=5), random_batch((6, 3), pairs=False)
    wide = {name: F.pad(value, (0, 4)) if value.dim() == 2 else value for name, value in batch.items()}
    keys = ("hidden", "attention", "embedding", "relation")
    config = MatchConfig(**{f"{key}_weight": 1.0 for key in keys})
    losses = [found(student, teacher, one, config)[0].item() for one in (batch, wide)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_vision_transformer_is_matched_as_well():
    teacher, student, batch = to_compact_vit(tiny_vit()), to_compact_vit(tiny_vit(seed=1)), random_pixels()
    keys = ("hidden", "attention", "embedding", "relation")
    config = GeneralConfig(**{f"{key}_weight": 1.0 for key in keys})
    same, _ = GeneralLoss(teacher, teacher, config)(teacher, batch)
    other, _ = GeneralLoss(student, teacher, config)(student, batch)
    assert same.item() == pytest.approx(0.0, abs=1e-6)
    assert other.item() > 0.1


# ---- two widths


def test_states_of_another_width_are_projected():
    teacher, student, batch = wide_compact(), whole_compact(), random_batch()
    loss, match = found(student, teacher, batch, MatchConfig(hidden_weight=1.0, embedding_weight=1.0))
    assert match.followed == [0, 2, 3]
    ours, theirs = (
        model(**model_inputs(batch), output_hidden_states=True).hidden_states for model in (student, teacher)
    )
    hidden, embedding = match.projections.hidden.weight, match.projections.embedding.weight
    assert hidden.shape == embedding.shape == (48, 32)
    real = batch["attention_mask"].bool()
    errors = [
        ((ours[index + 1] @ hidden.T - theirs[layer + 1]) ** 2)[real].mean()
        for index, layer in enumerate(match.followed)
    ]
    expected = torch.stack(errors).mean() + ((ours[0] @ embedding.T - theirs[0]) ** 2)[real].mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_projections_keep_lengths_and_depend_on_their_seed_alone():
    weights = [Projections(32, 48, seed=seed).hidden.weight for seed in (0, 0, 1)]
    torch.testing.assert_close(weights[0].T @ weights[0], torch.eye(32), rtol=0, atol=1e-5)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_no_projection_is_made_that_is_not_needed():
    wide, teacher = wide_compact(), whole_compact()
    assert Match(whole_compact(), teacher, MatchConfig(hidden_weight=1.0)).projections is None
    assert Match(teacher, wide, MatchConfig(relation_weight=1.0)).projections is None


def general_run(folder, progress, steps):
    """Trains a student of two layers towards a wider teacher; notes each training loss."""
    set_seed(0)
    student = tiny_compact(type_vocab_size=0, heads_per_layer=[4, 4], ffn_per_layer=[48, 48])
    config = GeneralConfig(epochs=2, learning_rate=5e-3, batch_size=16, evaluations=4)
    loss = GeneralLoss(student, wide_compact(), config)
    before = loss.beside.hidden.weight.clone()

    def noted(model, batch):
        value, output = loss(model, batch)
        if model.training:
            steps.append(value.item())
        return value, output

    result = train(
        student,
        toy_rows(96, seed=1),
        toy_rows(32, seed=2),
        config,
        folder=folder,
        seed=0,
        progress=progress,
        title="general",
        loss=noted,
        judge=None,
        beside=loss.beside,
    )
    return student, result, loss, before


class Unplugged(SilentProgress):
    def advance(self, done: int, note: str = "") -> None:
        if done == 8:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    steps = []
    return (*general_run(tmp_path_factory.mktemp("whole") / "run", SilentProgress(), steps), steps)


def test_a_narrow_student_learns_without_labels(taught):
    student, result, loss, before, _ = taught
    losses = [value for _, value in result.curve]
    assert losses[-1] < 0.8 * losses[0]
    assert result.score == min(losses)
    assert not torch.equal(loss.beside.hidden.weight, before)
    batch = toy_rows(32, seed=2)
    whole = batch.collate([batch[row] for row in range(32)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=use_bf16()):  # as in training
        assert loss(student, whole)[0].item() == pytest.approx(result.score, rel=1e-4)


def test_the_projections_do_not_stay_in_the_student(taught, tmp_path):
    student = taught[0]
    assert set(student.state_dict()) == set(type(student)(student.config).state_dict())
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in student.state_dict().items())


def test_an_interrupted_general_stage_goes_on_with_its_projections(taught, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        general_run(tmp_path / "run", Unplugged(), [])
    steps = []
    student, result, loss, _ = general_run(tmp_path / "run", SilentProgress(), steps)
    assert result.curve == taught[1].curve
    assert steps == taught[4][6:]  # the checkpoint of step 6 of 12
    assert torch.equal(loss.beside.hidden.weight, taught[2].beside.hidden.weight)
    expected = taught[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in student.state_dict().items())


# ---- composed with the task's loss


def test_the_task_loss_adds_every_term():
    teacher, student, batch = wide_compact(), whole_compact(), random_batch()
    table = logits_of(teacher, batch)
    weights = {"hidden_weight": 1.0, "embedding_weight": 0.5, "relation_weight": 2.0}
    config, plain = DistillConfig(**weights), DistillConfig(hidden_weight=0.0)
    total, _ = TaskLoss(student, teacher, table, config)(student, batch)
    answers, _ = TaskLoss(student, teacher, table, plain)(student, batch)
    insides, _ = found(student, teacher, batch, MatchConfig(**weights))
    assert total.item() == pytest.approx((answers + insides).item(), rel=1e-6)


def test_a_model_of_one_output_learns_a_score():
    one = {"id2label": {0: "score"}}
    teacher, student = to_compact(tiny_bert(**one)), to_compact(tiny_bert(seed=5, **one))
    batch = random_batch() | {"labels": torch.tensor([0.5, -1.0, 2.0, 0.0])}
    table, config = logits_of(teacher, batch), DistillConfig(hidden_weight=0.0, hard_label_weight=0.25)
    loss, output = TaskLoss(student, teacher, table, config)(student, batch)
    expected = regression_loss(output.logits[:, 0], table[:, 0], batch["labels"], torch.ones(4), config)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert loss.item() > 1e-3


def test_without_weights_nothing_but_the_answers_is_computed():
    teacher, student, batch = whole_compact(), keep_layers(whole_compact(), [0, 2]), random_batch()
    lengths = []
    student.layers[1].register_forward_hook(lambda *call: lengths.append(call[2].shape[1]))
    TaskLoss(student, teacher, torch.zeros(4, 2), DistillConfig(hidden_weight=0.0))(student, batch)
    TaskLoss(student, teacher, torch.zeros(4, 2), DistillConfig())(student, batch)
    assert lengths == [1, 12]


# ---- maps and refusals


def test_a_deeper_student_follows_each_layer_more_than_once():
    assert layer_map(2, 3) == [0, 0, 1]
    assert layer_map(1, 4) == [0, 0, 0, 0]
    teacher, student, batch = keep_layers(whole_compact(), [0, 1]), whole_compact(), random_batch()
    loss, match = found(student, teacher, batch, MatchConfig(hidden_weight=1.0))
    states = [
        model(**model_inputs(batch), output_hidden_states=True).hidden_states for model in (student, teacher)
    ]
    theirs = [states[1][layer + 1] for layer in match.followed]
    expected = hidden_state_loss(states[0][1:], theirs, batch["attention_mask"])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_layer_map_of_ones_own_is_followed():
    teacher, student, batch = whole_compact(), keep_layers(whole_compact(), [0, 1]), random_batch()
    loss, _ = found(student, teacher, batch, MatchConfig(hidden_weight=1.0), followed=[0, 1])
    assert loss.item() == pytest.approx(0.0, abs=1e-9)  # it is the teacher's first two layers
    assert found(student, teacher, batch, MatchConfig(hidden_weight=1.0))[0].item() > 0.1


@pytest.mark.parametrize(
    ("followed", "text"),
    [
        ([1, 3], "layer map: 3 is out of range; allowed: 0 to 2, the layers of the teacher"),
        ([-1, 2], "layer map: -1 is out of range; allowed: 0 to 2"),
        ([2], r"layer map: 1 layers \(2\); allowed: one for each of the student's 2"),
    ],
)
def test_a_layer_map_out_of_range_is_refused(followed, text):
    student, teacher = shape_of(keep_layers(whole_compact(), [0, 1]).config), shape_of(whole_compact().config)
    with pytest.raises(RecipeError, match=text):
        check_match(MatchConfig(), student, teacher, followed)


def test_a_relation_layer_that_the_teacher_lacks_is_refused():
    with pytest.raises(RecipeError, match="relation_layer: 3 is out of range; allowed: 0 to 2"):
        Match(whole_compact(), whole_compact(), MatchConfig(relation_weight=1.0, relation_layer=3))


def test_attention_of_unequal_heads_is_refused_with_the_way_out():
    text = "the student's layer 0 has 4 heads, the teacher's layer 0 6; .* relation_weight above 0"
    with pytest.raises(RecipeError, match=text):
        Match(whole_compact(), wide_compact(), MatchConfig(attention_weight=1.0))
    Match(whole_compact(), wide_compact(), MatchConfig(relation_weight=1.0))


def test_a_training_without_anything_beside_it_is_as_before(tmp_path):
    """Nothing is added to the model, not even for a while."""
    model, names = tiny_compact(type_vocab_size=0), []

    def loss(model, batch):
        names.append(set(model.state_dict()))
        output = model(**model_inputs(batch), labels=batch["labels"])
        return output.loss, output

    train(
        model,
        toy_rows(16, seed=1),
        toy_rows(8, seed=2),
        TrainingConfig(epochs=1, batch_size=16),
        folder=tmp_path / "run",
        seed=0,
        progress=SilentProgress(),
        title="t",
        loss=loss,
    )
    assert names == [set(type(model)(model.config).state_dict())]
