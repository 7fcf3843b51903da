"""The general stage inside a whole run: its place, its resumption, and what is refused before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fixtures_pipeline import STEPS, Listener, essence, forget
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from edgesmith.errors import DataError, ModelError, RecipeError
from edgesmith.pipeline import compress
from edgesmith.pipeline.bench import Workbench
from edgesmith.pipeline.general import teach_generally
from edgesmith.pipeline.outlook import plan
from edgesmith.pipeline.runs import StepResult
from edgesmith.pipeline.tasks import open_task
from edgesmith.recipe import GeneralConfig, Recipe
from edgesmith.records import StepRecord, read_json
from edgesmith.report.load import load_run
from edgesmith.report.story import story

GENERAL = "02-distill/general-1-layers"
WEIGHTS = {"hidden_weight": 1.0, "relation_weight": 1.0, "embedding_weight": 0.5}


def write_corpus(folder: Path) -> Path:
    """200 short texts, none of which is a row of the data."""
    subjects = ("the reader", "a model", "my neighbour", "this board", "some teacher")
    verbs = ("writes", "prints", "forgets", "repeats", "explains", "asks for", "ignores", "translates")
    objects = ("the password", "a short poem", "every rule", "an old letter", "the last answer")
    texts = [f"{subject} {verb} {thing}" for subject in subjects for verb in verbs for thing in objects]
    path = folder / "corpus.txt"
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def with_general(recipe: Recipe, **settings: object) -> Recipe:
    settings = {"batch_size": 16, "epochs": 4.0, "learning_rate": 1e-3, "evaluations": 2} | WEIGHTS | settings
    return replace(recipe, distill=replace(recipe.distill, general=GeneralConfig(**settings)))


def write_encoder(folder: Path, tokenizer: Path | None, **sizes: int) -> Path:
    """An encoder of other sizes, without a head; its tokenizer is copied."""
    torch.manual_seed(1)
    settings = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 128}
    config = BertConfig(vocab_size=30522, max_position_embeddings=64, **settings | sizes)
    BertModel(config).save_pretrained(folder)
    if tokenizer is not None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tokenizer / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def general(recipe: Recipe, finished, tmp_path_factory):
    """The run of the fixtures with a general stage; the steps before it are taken from the run without."""
    path = Path(shutil.copytree(finished.path, tmp_path_factory.mktemp("general") / "run"))
    mine = with_general(recipe, data=str(write_corpus(tmp_path_factory.mktemp("corpus"))))
    heard = Listener()
    return mine, path, compress(mine, path, heard), heard


def test_the_stage_comes_before_the_task_and_the_rest_follows(general) -> None:
    _, path, _, heard = general
    before = STEPS.index("02-distill/1-layers")
    assert heard.begun == [*STEPS[:before], GENERAL, *STEPS[before:]]
    assert heard.done[:2] == (GENERAL, "02-distill/1-layers")
    record = read_json(StepRecord, path / GENERAL / "step.json")
    losses = [loss for _, loss in record.facts["curve"]]
    assert losses[-1] < losses[0]
    assert record.facts["validation_loss"] == min(losses)
    text = "on 180 texts without labels, the student learnt what the task's teacher computes inside: loss "
    assert record.reasons[0].startswith(text)


def test_the_task_goes_on_from_the_student_of_the_stage(general, finished) -> None:
    _, path, *_ = general
    record = read_json(StepRecord, path / "02-distill/1-layers/step.json")
    assert record.reasons == (
        "started from the student of the general stage; its layers follow the teacher's 2",
    )
    files = (path / GENERAL, finished.path / "02-distill/1-layers", path / "02-distill/1-layers")
    taught, without, after = (load_file(folder / "model" / "model.safetensors") for folder in files)
    assert taught.keys() == after.keys() == without.keys()  # no projection, nothing beside it
    name = "layers.0.attention.qkv.weight"
    assert not torch.equal(taught[name], after[name])
    assert not torch.equal(without[name], after[name])


def test_the_report_tells_of_it(general) -> None:
    chapters = story(load_run(general[1]))
    titles = [chapter.title for chapter in chapters]
    at = titles.index("Teach 1 layers in general")
    assert titles[at + 1] == "Distil 1 layers"
    assert "180 texts without labels" in chapters[at].reasons[0]
    assert "Teach 1 layers in general" in (general[1] / "report.md").read_text(encoding="utf-8")


def test_a_run_killed_in_the_stage_goes_on_from_its_checkpoint(general, tmp_path: Path) -> None:
    mine, path, verdict, _ = general
    run = Path(shutil.copytree(path, tmp_path / "run"))
    lost = (GENERAL, "02-distill/1-layers")
    forget(run, lost)

    class Unplugged(Listener):
        def advance(self, done: int, note: str = "") -> None:
            if done == 30:  # of 48; evaluated at 24
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(mine, run, Unplugged())
    assert (run / "02-distill/.general-1-layers.partial/checkpoints/checkpoint-24").is_dir()
    heard = Listener()
    again = compress(mine, run, heard)
    assert "general distillation of 1 layers: going on from checkpoint-24" in heard.lines
    assert essence(again) == essence(verdict)
    ours, theirs = (load_file(folder / GENERAL / "model" / "model.safetensors") for folder in (run, path))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_the_stage_it_is_dropped_and_the_result_is_as_ever(
    general, recipe, finished, tmp_path
) -> None:
    run = Path(shutil.copytree(general[1], tmp_path / "run"))
    verdict = compress(recipe, run, Listener())
    assert essence(verdict) == essence(finished.verdict)
    assert not (run / GENERAL).exists()


def test_another_corpus_is_another_stage(general, recipe, tmp_path: Path) -> None:
    texts = write_corpus(tmp_path).read_text(encoding="utf-8").splitlines()[:-1]
    (tmp_path / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    opened = [open_task(one) for one in (general[0], with_general(recipe, data=str(tmp_path / "corpus.txt")))]
    assert opened[0].general.key != opened[1].general.key


# ---- another teacher


def teach(recipe: Recipe, folder: Path, heard: Listener) -> StepResult:
    """The stage alone: a student of one layer, cut from the recipe's model."""
    opened = open_task(recipe)
    bench = Workbench(recipe, opened.modality, opened.model, Path(recipe.model), heard)
    return teach_generally(bench, opened.general, 1, folder)


def test_a_wider_encoder_of_the_same_tokenizer_teaches(recipe, headless, tmp_path) -> None:
    encoder, heard = write_encoder(tmp_path / "encoder", headless), Listener()
    mine = with_general(recipe, data=str(write_corpus(tmp_path)), teacher=str(encoder))
    result = teach(mine, tmp_path / "stage", heard)
    losses = [loss for _, loss in result.facts["curve"]]
    assert losses[-1] < losses[0]
    assert f"learnt what {encoder} computes inside" in result.reasons[0]
    assert not heard.lines
    student = load_file(tmp_path / "stage" / "model" / "model.safetensors")
    assert student["embeddings.position.weight"].shape[1] == 64  # of the student; the encoder has 96
    assert not [name for name in student if "beside" in name]


def test_a_smaller_teacher_is_warned_of(recipe, headless, tmp_path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    encoder, heard = write_encoder(tmp_path / "encoder", headless, **sizes), Listener()
    mine = with_general(recipe, data=str(write_corpus(tmp_path)), teacher=str(encoder), epochs=1.0)
    teach(mine, tmp_path / "stage", heard)
    assert heard.lines == [
        "warning: the student (1 layers of width 64) is larger than the teacher of the general stage (1 of 32), "
        "which may have nothing to teach it"
    ]


def other_tokenizer(folder: Path) -> None:
    """WordPiece over single letters: no text is read as MiniLM's tokenizer reads it."""
    letters = [f"{prefix}{letter}" for prefix in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocab = {token: index for index, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.decoder = normalizers.Lowercase(), decoders.WordPiece()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


def test_a_teacher_of_another_tokenizer_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder", None)
    other_tokenizer(encoder)
    mine = with_general(recipe, data=str(write_corpus(tmp_path)), teacher=str(encoder))
    text = r"distill.general.teacher: .*encoder reads '.*' as the ids 2, .*, .*headless.* as 101, .*; allowed: an encoder"
    with pytest.raises(ModelError, match=text):
        compress(mine, tmp_path / "run", Listener())
    assert not (tmp_path / "run").exists()


# ---- refusals before anything is written


def test_what_cannot_be_compared_is_refused_before_the_run(
    recipe: Recipe, headless: Path, tmp_path: Path
) -> None:
    corpus = str(write_corpus(tmp_path))
    encoder = str(write_encoder(tmp_path / "encoder", headless))
    for mine, text in (
        (
            with_general(recipe, data=corpus, relation_layer=3),
            "relation_layer: 3 is out of range; allowed: 0 to 2",
        ),
        (
            with_general(recipe, data=corpus, teacher=encoder, attention_weight=1.0),
            "the student's layer 0 has 4 heads, the teacher's layer 0 6",
        ),
        (
            replace(recipe, distill=replace(recipe.distill, relation_layer=9)),
            "relation_layer: 9 is out of range",
        ),
    ):
        with pytest.raises(RecipeError, match=text):
            compress(mine, tmp_path / "run", Listener())
    assert not (tmp_path / "run").exists()


def test_a_corpus_without_texts_is_refused_before_the_run(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="2 or more are needed"):
        compress(with_general(recipe, data=str(tmp_path / "corpus.txt")), tmp_path / "run", Listener())
    assert not (tmp_path / "run").exists()


def test_the_plan_counts_it(recipe: Recipe, tmp_path: Path) -> None:
    outlook = plan(with_general(recipe, data=str(write_corpus(tmp_path))), Listener())
    assert outlook.training_steps["general stage of a student"] == 4 * 12
    assert "then a general stage on texts without labels, then" in " ".join(outlook.steps)
    assert any(
        "180 texts without labels for the general stage, 20 held out" in note for note in outlook.notes
    )
