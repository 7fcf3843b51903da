import io

import pytest
from rich.console import Console

from edgesmith.report.load import load_run
from edgesmith.report.terminal import print_report


def show(run, **options):
    console = Console(file=io.StringIO(), width=200, **options)
    print_report(run, console)
    return console.file.getvalue()


@pytest.mark.parametrize(("passed", "colour"), [(True, "\x1b[32m"), (False, "\x1b[31m")])
def test_the_panel_is_green_or_red(write_run, passed, colour):
    assert colour in show(load_run(write_run(passed=passed)), force_terminal=True, color_system="standard")


def test_a_file_gets_no_colour(write_run):
    assert "\x1b[" not in show(load_run(write_run()))


def test_next_commands_can_be_typed_where_the_reader_is(write_run):
    path = write_run("a run with spaces")
    text = show(load_run(path))
    assert f"python '{path.as_posix()}/bundle/onnxruntime/run.py' \"text\"\n" in text
    assert f"edgesmith run '{path.as_posix()}/recipe.resolved.yaml'\n" in text


def test_precision_in_one_line(write_run):
    assert "Precision: 1 layer in fp16, 2 layers in int8." in show(load_run(write_run()))
