"""The checkup as its user sees it, and a hub that answers, refuses, or keeps silent."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

import edgesmith
from edgesmith.cli import main
from edgesmith.cli.doctor import ask_hub, check_up
from edgesmith.cli.installed import find_installed
from edgesmith.targets import FAMILIES, WEIGHT_DTYPES, runtime_names

SOURCE = Path(edgesmith.__file__).parents[1]


class Hub(BaseHTTPRequestHandler):
    """Answers 200 at its root and 503 elsewhere."""

    def do_HEAD(self) -> None:
        self.send_response(200 if self.path in ("", "/") else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a hub on this machine; questions are allowed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "*")
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_hub_that_answers_is_reachable(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    assert ask_hub(2.0) == f"reachable: {hub}"


@pytest.mark.parametrize("address", ["{hub}/down", "http://127.0.0.1:1", "no address"])
def test_a_hub_that_does_not_answer_as_a_hub_is_no_failure(
    address: str, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address.format(hub=hub))
    assert ask_hub(2.0).startswith(f"not reachable: {address.format(hub=hub)}: ")


def test_a_hub_that_keeps_silent_is_waited_for_no_longer_than_told(
    hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert ask_hub(0.2).startswith("not reachable")
        assert time.monotonic() - start < 2.0


def test_offline_nothing_is_asked() -> None:
    assert ask_hub(2.0) == "not asked: HF_HUB_OFFLINE is set"


def test_the_checkup_names_every_runtime_extra_and_sensor(tmp_path: Path) -> None:
    found = check_up(tmp_path)
    text = "\n".join(found.lines())
    names = [each.name for each in (*found.installed.runtimes, *found.installed.extras, *found.energy)]
    assert all(f"  {name}" in text or f"{name}:" in text for name in names)
    assert text.endswith("compress can run.")


def test_json_is_the_whole_checkup() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["version"] == edgesmith.__version__
    assert found["obstacles"] == []
    assert [extra["name"] for extra in found["installed"]["extras"]] == [
        extra.name for extra in find_installed().extras
    ]


def test_the_matrix_is_printed_with_the_reasons_of_its_gaps() -> None:
    done = CliRunner().invoke(main, ["doctor", "--matrix"])
    assert done.exit_code == 0
    assert all(family in done.stdout for family in FAMILIES)
    assert "(1) nothing is written in INT4 for executorch" in " ".join(done.stdout.split())
    cells = json.loads(CliRunner().invoke(main, ["doctor", "--matrix", "--json"]).stdout)
    assert len(cells) == len(FAMILIES) * len(runtime_names()) * len(WEIGHT_DTYPES)


def test_quiet_says_nothing_where_nothing_is_wrong() -> None:
    done = CliRunner().invoke(main, ["doctor", "--quiet"])
    assert (done.exit_code, done.output) == (0, "")


def test_what_makes_compress_impossible_exits_3_with_the_line_to_type(tmp_path: Path) -> None:
    """An installation of edgesmith that names a torch of the far future."""
    folder = tmp_path / "edgesmith-9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: edgesmith\nVersion: 9\nRequires-Dist: torch>=999\nProvides-Extra: onnxruntime\n"
    )
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom edgesmith.cli import main; main(['doctor'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("error: compress cannot run: torch is ")
    assert done.stderr.endswith("Type: pip install --upgrade edgesmith\n")
    assert "compress can run" not in done.stdout
