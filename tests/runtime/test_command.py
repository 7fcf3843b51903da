from __future__ import annotations

import io
import json
import re
from dataclasses import asdict

import pytest

from edgesmith.runtime import load_bundle
from edgesmith.runtime.command import main

TEXTS = ["a fine film", "dreadful", "日本語", "an hour too long"]


@pytest.fixture(scope="module")
def predictor(small_bundle):
    return load_bundle(small_bundle)


@pytest.fixture
def answer(small_bundle, capsys):
    """Runs the command; gives its standard output and error."""

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        assert main(arguments, small_bundle) == code
        return capsys.readouterr()

    return run


@pytest.fixture
def standard_input(monkeypatch):
    def feed(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))

    return feed


def test_texts_give_label_and_probability(answer, predictor):
    expected = "".join(f"{a.label}\t{a.probability:.4f}\n" for a in predictor.predict(TEXTS))
    assert answer(*TEXTS) == (expected, "")


def test_pairs_are_taken_two_by_two(answer, predictor):
    expected = "".join(
        f"{a.label}\t{a.probability:.4f}\n" for a in predictor.predict(TEXTS[::2], TEXTS[1::2])
    )
    assert answer("--pair", *TEXTS).out == expected


def test_json_gives_every_field(answer, predictor):
    lines = answer("--json", *TEXTS).out.splitlines()
    assert [json.loads(line) for line in lines] == [asdict(a) for a in predictor.predict(TEXTS)]


def test_a_file_gives_one_label_a_line(answer, predictor, tmp_path):
    rows = "".join(f"{text}\t{text[::-1]}\n" for text in TEXTS)
    (tmp_path / "d.tsv").write_text("text\tother\n" + rows, encoding="utf-8")
    (tmp_path / "d.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    singles = "".join(f"{a.label}\n" for a in predictor.predict(TEXTS))
    pairs = "".join(f"{a.label}\n" for a in predictor.predict(TEXTS, [text[::-1] for text in TEXTS]))
    table = ("--file", str(tmp_path / "d.tsv"), "--text-column", "text")
    assert answer(*table).out == singles
    assert answer(*table, "--pair-column", "other").out == pairs
    assert answer("--file", str(tmp_path / "d.txt")).out == singles
    assert singles != pairs


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_standard_input_is_utf8_lines(answer, standard_input, encoding):
    standard_input("\n".join(TEXTS).encode(encoding))
    assert answer().out == answer(*TEXTS).out


def test_standard_input_of_pairs(answer, standard_input):
    standard_input(f"{TEXTS[0]}\t{TEXTS[1]}\n{TEXTS[2]}\t{TEXTS[3]}\n".encode())
    assert answer("--pair").out == answer("--pair", *TEXTS).out


def test_time_goes_to_standard_error(answer):
    out, err = answer("--time", "--threads", "1", *TEXTS)
    assert out == answer(*TEXTS).out
    found = re.fullmatch(
        r"p50 ([0-9.]+) ms to tokenise, run and decode one input \(n = 4, threads = 1\)\n", err
    )
    assert found and 0 < float(found[1]) < 1000


def test_threads_do_not_change_answers(answer):
    assert answer("--threads", "2", *TEXTS).out == answer(*TEXTS).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--file", "d.csv"], "give texts or --file, not both"),
        (["a", "--text-column", "t"], "go with --file and a .csv"),
        (["--file", "d.txt", "--text-column", "t"], "go with --file and a .csv"),
        (["--file", "d.csv", "--pair"], "--pair-column names the second text"),
        (["--pair", "a", "b", "c"], "texts are taken two by two, and there are 3"),
        (["a", "--threads", "0"], "--threads is 0; allowed: 1 or more"),
        (["a", "--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_options_that_contradict_end_with_2(small_bundle, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        main(arguments, small_bundle)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_errors_are_one_line_and_the_exit_code(answer, standard_input, own_bundle, capsys):
    out, err = answer("--file", "absent.csv", code=2)
    assert (out, err) == ("", "error: absent.csv cannot be read: No such file or directory.\n")
    assert "text 0 is '\\udcff'; expected a string of Unicode" in answer("\udcff", code=2).err
    standard_input(b"\xff\n")
    assert "standard input is not UTF-8" in answer(code=2).err
    (own_bundle / "model.onnx").unlink()
    assert main(["a"], own_bundle) == 2
    assert "model.onnx is missing" in capsys.readouterr().err
