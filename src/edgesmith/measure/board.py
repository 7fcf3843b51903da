"""`edgesmith bench --host`: the same bench on another machine. Bundles and the code that measures go there and leave again.

Example:
    >>> from edgesmith.measure.board import bench_on_board
    >>> from edgesmith.measure.ssh import SSH
    >>> found = bench_on_board(["build/onnxruntime"], SSH("pi@raspberrypi.local"))
    >>> found.host, found.environment.processor
"""

from __future__ import annotations

import datetime
import hashlib
import inspect
import json
import pickle
import posixpath
import shlex
import signal
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet

import edgesmith
from edgesmith import errors
from edgesmith.errors import BoardError, MissingExtraError, RecipeError, UnsupportedError, choose_from
from edgesmith.measure import there
from edgesmith.measure.bench import choose_inputs, open_bundles
from edgesmith.measure.inputs import BenchInputs
from edgesmith.measure.on_board import JOB, MARK
from edgesmith.measure.transport import Done, Transport
from edgesmith.records import (
    DISTRIBUTION_OF,
    MANIFEST_HASH_NAME,
    MANIFEST_NAME,
    TESTED_VERSIONS,
    Bench,
    BenchConfig,
    Progress,
    SilentProgress,
    device_packages,
    from_dict,
    is_power_log,
)
from edgesmith.runtime.bundle import Bundle, hash_file

if TYPE_CHECKING:
    from edgesmith.recipe import DataConfig

SOURCES = ("__init__.py", "errors.py", "records/*.py", "runtime/*.py", "measure/*.py")
"""Of edgesmith's own files those that a bench needs; none of them loads torch."""

SOURCE = "source"
"""Folder of these there."""

LARGE_BYTES = 1_000_000
"""From which on a file goes by itself: every file has its own connection, which takes a board a part of a second."""

OLDEST_PYTHON = (3, 11)

TIME_LIMIT_S = 1800.0
CLEANUP_S = 30.0
"""For taking away what was copied, after everything else."""

TRIES = 5
"""Of copying; the last one of a copy that goes well finds that nothing is lacking."""

PAUSE_S = 1.0

SIGNALLED = 128
"""Exit code of a shell whose command a signal ended, less the signal's number."""


def bench_on_board(
    bundles: Sequence[str | Path],
    transport: Transport,
    config: BenchConfig | None = None,
    *,
    data: DataConfig | None = None,
    python: str = "python3",
    folder: str | None = None,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Progress | None = None,
) -> Bench:
    """Asks bundles in turns on a board, as `bench` does on this machine.

    Args:
        bundles: folders on this machine.
        transport: the way to the board, such as `SSH`.
        config: how; its CPUs are the board's.
        data: rows on this machine to ask; None makes inputs for each bundle.
        python: the board's, 3.11 or later, with numpy, what reads the inputs, and the runtime.
        folder: of the board, for a folder of ours; None is that for temporary files. What an interrupted call of the same
            bundles left there is used again; at the end everything of ours is removed.
        time_limit_s: of everything but that removal.

    Raises:
        BoardError: the board cannot be reached, its disk is full, time is up, or the connection was lost.
        UnsupportedError: its Python or a package is missing or of another version.
        RecipeError, BundleError, DataError, MeasureError: as `bench`.
    """
    config, progress = config or BenchConfig(), progress or SilentProgress()
    if config.energy and is_power_log(config.energy):
        raise RecipeError(
            f"energy is {config.energy!r}, a file of this machine and by its clock, and the board has its own. Let the meter log "
            "on the board and bench there, or read the board's sensors: --energy auto"
        )
    opened = open_bundles(bundles)
    if time_limit_s <= config.duration_s * len(opened):
        raise RecipeError(
            f"the time limit is {time_limit_s:g} s, and the questions alone take {config.duration_s * len(opened):g} s. "
            f"Type: --time-limit {2 * config.duration_s * len(opened) + 60:.0f}s"
        )
    asked = [_portable(inputs) for inputs in choose_inputs(opened, data, config)]
    packages = sorted({package for bundle in opened for package in _packages(bundle)})
    board = _Board(transport, time_limit_s, progress)
    with tempfile.TemporaryDirectory() as own:
        files = _pack(opened, asked, config, Path(own, there.ARCHIVE))
        parent = board.look(python, packages, folder)
        home = posixpath.join(parent, f"edgesmith-bench-{_key(opened)}")
        try:
            board.copy(files, home)
            found = board.bench(home)
        except BaseException as error:
            for note in board.remove(home):
                error.add_note(note)
            raise
        left = board.remove(home)
    return replace(
        found,
        bundles=tuple(
            replace(one, bundle=str(bundle.path)) for one, bundle in zip(found.bundles, opened, strict=True)
        ),
        date=datetime.date.today().isoformat(),  # a board may have no clock of its own
        notes=(*found.notes, *left),
        host=transport.host,
    )


def _packages(bundle: Bundle) -> tuple[str, ...]:
    manifest = bundle.manifest
    if manifest.runtime not in DISTRIBUTION_OF:
        raise UnsupportedError(choose_from("runtime", manifest.runtime, DISTRIBUTION_OF))
    return device_packages(manifest.runtime, manifest.task)


def _portable(inputs: BenchInputs) -> BenchInputs:
    """Images as the content of their files, which are not on the board."""
    rows = tuple(
        (first.read_bytes() if isinstance(first, Path) else first, second) for first, second in inputs.rows
    )
    return replace(inputs, rows=rows)


def _key(opened: Sequence[Bundle]) -> str:
    """The same for the same bundles, so that the next call finds what was copied."""
    hashes = sorted({hash_file(bundle.path / MANIFEST_NAME) for bundle in opened})
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()[:12]


def _pack(
    opened: Sequence[Bundle], asked: Sequence[BenchInputs], config: BenchConfig, archive: Path
) -> dict[str, Path]:
    """Name there -> file here, of all that is copied: large files, and an archive of everything else.

    The same call makes the same archive, so that one that arrived in part can go on.
    """
    folders: dict[Path, str] = {}
    for bundle in opened:
        folders.setdefault(bundle.path, f"bundle-{len(folders) + 1}")
    files: dict[str, Path] = {}
    for bundle in opened:
        named = (MANIFEST_NAME, MANIFEST_HASH_NAME, *(entry.path for entry in bundle.manifest.files))
        files |= {f"{folders[bundle.path]}/{name}": bundle.path / name for name in named}
    package = Path(edgesmith.__file__).parent
    for source in sorted(path for pattern in SOURCES for path in package.glob(pattern)):
        files[f"{SOURCE}/edgesmith/{source.relative_to(package).as_posix()}"] = source
    small = {name: file for name, file in files.items() if file.stat().st_size < LARGE_BYTES}
    job = pickle.dumps(([folders[bundle.path] for bundle in opened], asked, config))
    contents = {name: file.read_bytes() for name, file in small.items()} | {JOB: job}
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in contents.items():
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without the time
    return {there.ARCHIVE: archive} | {name: file for name, file in files.items() if name not in small}


class _Board:
    """The steps of a bench on a board, which share its Python and the time that is left."""

    def __init__(self, transport: Transport, time_limit_s: float, progress: Progress) -> None:
        self._transport, self._progress = transport, progress
        self._host, self._limit_s = transport.host, time_limit_s
        self._end = time.monotonic() + time_limit_s
        self._python = ""

    def look(self, python: str, packages: Sequence[str], folder: str | None) -> str:
        """Checks what the board has; the folder to work in."""
        self._python = python.removeprefix("~/")  # a login begins there
        self._check_version(python)
        found = self._call("look", packages=packages, folder=folder)
        self._python = str(found["python"])
        self._check_packages({name: found["packages"].get(name) for name in packages}, found["is_managed"])
        return str(found["folder"])

    def copy(self, files: Mapping[str, Path], home: str) -> None:
        """Until every file lies there with the right hash; a file goes on where it stopped."""
        wanted = {name: (file.stat().st_size, hash_file(file)) for name, file in files.items()}
        for tries_left in reversed(range(TRIES)):
            try:
                found = self._call("prepare", folder=home, wanted=wanted)
                lacking: dict[str, int] = found["lacking"]
                if not lacking:
                    return
                needed = sum(wanted[name][0] - offset for name, offset in lacking.items())
                if needed > found["free"]:
                    raise self._full(
                        home, f"{needed / 1e6:.1f} MB are to come, {found['free'] / 1e6:.1f} MB are free"
                    )
                self._send(files, lacking, needed, home)
            except BoardError as problem:
                if not problem.is_lost or not tries_left:
                    raise
                self._progress.say(f"{problem} Trying again from there.")
                time.sleep(PAUSE_S)
        raise BoardError(
            f"{self._host}: files arrive changed in {home}, in {TRIES} tries ({', '.join(sorted(lacking))}). Check that disk "
            "(dmesg there), or choose another one with --remote-folder."
        )

    def bench(self, home: str) -> Bench:
        """Runs it there; the result as that machine wrote it."""
        told: dict[str, Any] = {}

        def listen(line: str) -> None:
            for message in _messages([line]):
                told.update(message)
                if "say" in message:
                    self._progress.say(f"{self._host}: {message['say']}")

        environment = (
            f"PYTHONPATH={home}/{SOURCE}",
            "PYTHONSAFEPATH=1",
            f"TMPDIR={home}/{there.TEMPORARY}",
        )
        command = ["env", *environment, self._python, "-m", "edgesmith.measure.on_board", home]
        with self._timed("measuring"):
            done = self._transport.run(command, listen=listen, limit_s=self._left_s())
        if "error" in told:
            kind = getattr(errors, told["error"])
            raise (UnsupportedError if kind is MissingExtraError else kind)(
                f"on {self._host}: {told['text']}"
            )
        if "bench" not in told:
            raise self._failed("the bench", done)
        return from_dict(Bench, told["bench"], error=BoardError)

    def remove(self, home: str) -> list[str]:
        """Takes everything away, whatever became of it; a sentence where that cannot be done."""
        try:
            done = self._transport.remove(home, limit_s=CLEANUP_S)
            why = _last(done) if done.code else ""
        except BoardError:
            why = "it cannot be reached"
        except TimeoutError:
            why = f"it does not answer within {CLEANUP_S:g} s"
        if not why:
            return []
        return [
            f"{home} may remain on {self._host} ({why}): the same command goes on with it; to remove it, type: "
            f"{self._transport.line('rm', '-rf', home)}"
        ]

    def _check_version(self, python: str) -> None:
        code = f"import sys; print({MARK!r} + '[%d, %d, %d]' % sys.version_info[:3])"  # of any release
        version, done = self._run([self._python, "-c", code], "looking for Python")
        if not version:
            raise UnsupportedError(
                f"{self._host} has no Python at {python!r} ({_last(done)}). Name one of release "
                f"{_dotted(OLDEST_PYTHON)} or later: --python /usr/bin/python3.11"
            )
        if tuple(version[0]) < OLDEST_PYTHON:
            raise UnsupportedError(
                f"{self._host}: {python} is Python {_dotted(version[0])}; allowed: {_dotted(OLDEST_PYTHON)} or later. "
                "Install one there and name it: --python /usr/bin/python3.11"
            )

    def _check_packages(self, found: Mapping[str, str | None], is_managed: bool) -> None:
        """Refuses what is missing or of a version that was not tested, with the line that installs all of it."""
        wrong = []
        for name, version in found.items():
            if version is None:
                wrong.append(f"{name} is not installed")
            elif not SpecifierSet(TESTED_VERSIONS[name]).contains(version, prereleases=True):
                wrong.append(f"{name} is {version}, allowed: {TESTED_VERSIONS[name]}")
        if not wrong:
            return
        wanted = shlex.join(f"{name}{TESTED_VERSIONS[name].replace(' ', '')}" for name in found)
        install = f"{self._python} -m pip install {wanted}"
        after = ""
        if is_managed:  # pip would refuse
            install = f"{self._python} -m venv ~/bench && ~/bench/bin/pip install {wanted}"
            after = " , and here: --python bench/bin/python"
        raise UnsupportedError(
            f"{self._host}, {self._python}: {'; '.join(wrong)}. Type there: {install}{after}"
        )

    def _send(self, files: Mapping[str, Path], lacking: Mapping[str, int], needed: int, home: str) -> None:
        self._progress.start(f"copying to {self._host}, kB", -(-needed // 1000))
        gone = 0
        try:
            for name, offset in lacking.items():
                before = gone - offset
                done = self._copy(files[name], f"{home}/{name}{there.PART}", offset, before)
                if done.code:
                    if "No space left" in done.said or "quota exceeded" in done.said:
                        raise self._full(home, _last(done))
                    raise self._failed(f"copying {name}", done)
                gone = before + files[name].stat().st_size
                self._progress.advance(-(-gone // 1000))  # a part of a kB counts, so the bar ends full
        finally:
            self._progress.finish()

    def _copy(self, file: Path, to: str, offset: int, before: int) -> Done:
        def told(position: int) -> None:
            self._progress.advance((before + position) // 1000)

        with self._timed("copying"):
            return self._transport.copy(file, to, offset=offset, told=told, limit_s=self._left_s())

    def _call(self, function: str, **arguments: object) -> dict[str, Any]:
        """A function of `measure.there`, by its source on the standard input of the board's Python."""
        script = f"{inspect.getsource(there)}\nimport json\nprint({MARK!r} + json.dumps({function}(**{arguments!a})))\n"
        found, done = self._run([self._python, "-"], "preparing", script)
        if not found:
            raise self._failed(f"{self._python} as it prepares", done)
        answer: dict[str, Any] = found[0]
        if problem := answer.get("problem"):
            if answer["is_full"]:
                raise self._full(arguments["folder"], problem)
            raise BoardError(f"{self._host}: {problem}. Choose another folder with --remote-folder.")
        return answer

    def _run(self, command: Sequence[str], doing: str, script: str = "") -> tuple[list[Any], Done]:
        """The messages of a command that ends by itself."""
        lines: list[str] = []
        with self._timed(doing):
            done = self._transport.run(command, script=script, listen=lines.append, limit_s=self._left_s())
        return _messages(lines), done

    def _left_s(self) -> float:
        return self._end - time.monotonic()

    @contextmanager
    def _timed(self, doing: str) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise BoardError(
                f"{self._host}: the time limit of {self._limit_s:g} s was over while {doing}. Type a longer one: --time-limit "
                f"{2 * self._limit_s:.0f}s"
            ) from None

    def _full(self, home: object, why: object) -> BoardError:
        return BoardError(
            f"{self._host}: the disk of {home} is full ({why}). Free some space there, or choose another disk: --remote-folder "
            "/path"
        )

    def _failed(self, what: str, done: Done) -> BoardError:
        """Of a command that ended as it should not."""
        ended = f"ended with {done.code}"
        if done.code > SIGNALLED:
            ended = f"was ended by signal {done.code - SIGNALLED}"
        advice = "Run it by hand"
        if done.code == SIGNALLED + signal.SIGKILL:
            advice = "Its memory may be full; this tells (dmesg | tail there). Run it by hand"
        return BoardError(f"{self._host}: {what} {ended} ({_last(done)}). {advice}: {self._transport.line()}")


def _messages(lines: Sequence[str]) -> list[Any]:
    return [json.loads(line.removeprefix(MARK)) for line in lines if line.startswith(MARK)]


def _last(done: Done) -> str:
    """The last line that it said."""
    return done.said.splitlines()[-1].strip() if done.said else "it said nothing"


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
