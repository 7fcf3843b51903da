"""What README and docs show works, and the README's tables say what the code's tables say.

Of the README, blocks after `<!-- test -->` run. Of the docs, every block of Python runs, and every block of shell after
`<!-- run -->`. Every line that calls edgesmith anywhere is one that the command line takes.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgesmith.cli import main
from edgesmith.recipe import Recipe
from edgesmith.report.markdown import render_table
from edgesmith.report.support import matrix, tasks
from edgesmith.targets import CAPABILITIES, load_target, shipped_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)

TESTED = re.compile(r"<!-- test -->\n```(python|bash)\n(.*?)```", re.DOTALL)
QUICK = re.findall(r"```(python)\n(.*?)```", DOCS, re.DOTALL) + re.findall(
    r"<!-- run -->\n```(bash)\n(.*?)```", DOCS, re.DOTALL
)
RECIPES = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
BLOCKS = "\n".join(re.findall(r"```bash\n(.*?)```", README + DOCS, re.DOTALL))
LINES = sorted(set(re.findall(r"^edgesmith .+", BLOCKS, re.MULTILINE)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages speak of: new rows, and a finished run's bundle, here a small one."""
    pytest.importorskip("onnxruntime", reason="the extra `onnxruntime` is not installed")
    monkeypatch.syspath_prepend(ROOT / "tests")
    from fixtures_text import write_small_bundle

    write_small_bundle(tmp_path / "runs" / "reviews" / "bundle" / "onnxruntime")
    (tmp_path / "new-reviews.csv").write_text("text,label\na fine film,positive\na dull film,negative\n")
    return tmp_path


def run(language: str, code: str, folder: Path) -> None:
    shell = f'edgesmith() {{ "{sys.executable}" -m edgesmith "$@"; }}\n{code}'
    command = (
        [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", shell]
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("language", "code"), TESTED.findall(README), ids=lambda value: value.splitlines()[0][:30]
)
def test_block_of_the_readme_runs(language: str, code: str, tmp_path: Path) -> None:
    run(language, code, tmp_path)


@pytest.mark.parametrize(("language", "code"), QUICK, ids=lambda value: value.splitlines()[0][:30])
def test_block_of_the_docs_runs(language: str, code: str, folder: Path) -> None:
    run(language, code, folder)


def test_both_languages_are_run() -> None:
    assert {language for language, _ in TESTED.findall(README)} == {"python", "bash"}
    assert {language for language, _ in QUICK} == {"python", "bash"}


@pytest.mark.parametrize("line", LINES)
def test_every_line_that_is_shown_is_one_that_the_command_line_takes(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compress` makes its recipe, so that the keys of ``--set`` are checked as well; the rest is parsed."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line.partition(" > ")[0])[1:]
    if words[0] == "compress" and "--help" not in words:
        done = CliRunner().invoke(main, [*words, "--save-recipe", "checked.yaml"])
        assert done.exit_code == 0, done.stderr
        return
    with main.make_context("edgesmith", words.copy(), resilient_parsing=True) as context:
        _, command, rest = main.resolve_command(context, words)
    assert command
    if "--help" not in rest:
        command.make_context(words[0], rest, parent=context)


@pytest.mark.parametrize("text", RECIPES, ids=lambda text: text.splitlines()[-1][:30])
def test_every_recipe_that_is_shown_is_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    Recipe.load(tmp_path / "recipe.yaml")


def test_the_readme_leads_to_every_page() -> None:
    assert [page.name for page in PAGES if f"](docs/{page.name})" not in README] == []


def test_the_table_of_devices_lists_every_profile() -> None:
    rows = [f"| `{name}` | {load_target(name).description} |" for name in shipped_names()]
    assert "\n".join(rows) in README


def test_the_support_matrix_lists_every_capability() -> None:
    rows = [
        f"| {row.runtime} | {row.kind} | {str(row).removeprefix(f'{row.kind} ')} | {row.computes} |"
        for row in CAPABILITIES
    ]
    assert "\n".join(rows) in README


def test_the_page_of_runtimes_has_the_matrix_of_the_tables() -> None:
    page = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- matrix -->\n")[2].partition("\n<!-- end -->")[0]
    assert shown == f"{render_table(matrix(), level=2)}\n\n{render_table(tasks(), level=2)}"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=lambda page: page.name
)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link.partition("#")[0]).exists(), link
