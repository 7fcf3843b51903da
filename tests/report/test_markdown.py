from edgesmith.report.load import load_run
from edgesmith.report.markdown import escape, render_markdown


def test_verdict_comes_first_and_sections_follow(write_run):
    text = render_markdown(load_run(write_run(warnings=("careful",))))
    assert text.startswith("# PASS\n\nThe artifact loses 0.43 points")
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "Budget",
        "Measured",
        "Warnings",
        "What was done and why",
        "Candidates",
        "Precision",
        "Environment",
        "Use it",
        "Reproduce it",
    ]


def test_steps_are_told_in_order_with_their_reasons(write_run):
    text = render_markdown(load_run(write_run()))
    told = [
        "**01-analyze** (10 s)\n\n- word embeddings are 51.6 % of the bytes",
        "**02-distill/half** (10 s)\n\n- layers 1, 3 and 6 of the teacher",
        "**03-prune/half** (10 s)\n\n- kept 15 of 36 heads",
        "**04-quantize/half** (10 s)\n\n- 1 layer stays in FP16",
        "**05-export/half** (10 s)\n\n- no choice was to be made",
        "**06-validate** (10 s)\n\n- 64 inputs over all lengths",
    ]
    positions = [text.index(part) for part in told]
    assert positions == sorted(positions)


def test_precision_plan_is_shown_layer_by_layer(write_run):
    text = render_markdown(load_run(write_run()))
    assert "| embeddings.word | int8 | per channel | none | 0.00123 | cheap |" in text
    assert "| layers.0.ffn.output | fp16 | per channel | none | 0.0456 | costs too much in INT8 |" in text
    assert "| head | int8 | per channel | dynamic int8 | - | - |" in text
    assert "1 layer in fp16, 2 layers in int8." in text


def test_a_run_without_a_plan_says_so(write_run):
    text = render_markdown(load_run(write_run(candidates=())))
    assert "## Precision" not in text
    assert "Nothing was quantized." in text
    assert "## Candidates" not in text


def test_how_to_use_and_reproduce(write_run):
    text = render_markdown(load_run(write_run()))
    assert 'pip install numpy tokenizers onnxruntime\npython onnxruntime/run.py "text"' in text
    assert "Copy the folder `bundle/onnxruntime`" in text
    assert "edgesmith run recipe.resolved.yaml" in text
    assert "Python 3.11.9; onnxruntime 1.31.1" in text


def test_no_path_of_this_machine_is_written(write_run):
    path = write_run()
    assert str(path) not in render_markdown(load_run(path))


def test_free_text_cannot_break_a_table():
    assert escape("a|b\nc <s> *d* `e` \\f") == r"a\|b c \<s> \*d\* \`e\` \\f"


def test_table_rows_have_as_many_cells_as_their_header(write_run):
    candidate = write_run.candidate("a|b\nc", decision="x | y")
    lines = render_markdown(load_run(write_run(candidates=(candidate,)))).splitlines()
    header = next(line for line in lines if line.startswith("| name |"))
    row = next(line for line in lines if line.startswith("| a\\|b c |"))
    assert row.replace("\\|", "").count("|") == header.count("|")
