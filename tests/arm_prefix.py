"""An aarch64 Python with the packages of a device, in ``.arm``, and QEMU to run it: `make test-arm` prepares it.

Everything comes by apt's and pip's own ways and stays in that folder: apt works on lists and a package database of its own
there, so neither root nor a change to this system is needed. Started again, it goes on with what is missing.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARM = ROOT / ".arm"
SYSTEM, PACKAGES, EMULATOR = ARM / "system", ARM / "packages", ARM / "qemu"
_APT, _SOURCE = ARM / "apt", "made-from"

DEBIAN_PACKAGES = ("python3", "libstdc++6")
"""What the wheels need; apt adds what these need."""
WHEELS = ("numpy", "tokenizers", "pillow", "onnxruntime", "ai-edge-litert")
"""What bundles need on a device. What the wheels themselves ask for beyond that stays away, as no bundle needs it."""
_QEMU_NAMES = ("qemu-aarch64-static", "qemu-aarch64")


@dataclass(frozen=True)
class Processor:
    """A processor as QEMU and Linux call it.

    Libraries look for instructions in the auxiliary vector, which QEMU fills, and for the core's name in
    ``/proc/cpuinfo``, which older ones pass on from this machine: onnxruntime 1.31.1 then dies as it is imported.

    Attributes:
        cpu: of QEMU.
        part: of ``/proc/cpuinfo``, where Arm's number of the core stands.
        features: likewise.
    """

    cpu: str
    part: str
    features: str

    def cpuinfo(self) -> str:
        """``/proc/cpuinfo`` of one core."""
        lines = {
            "processor": "0",
            "BogoMIPS": "108.00",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": "0x0",
            "CPU part": self.part,
            "CPU revision": "4",
        }
        return "".join(f"{key}\t: {value}\n" for key, value in lines.items()) + "\n"


_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = f"{_V8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
PROCESSORS = {
    "cortex-a53": Processor("cortex-a53", "0xd03", _V8_0),
    "cortex-a76": Processor("cortex-a76", "0xd0b", _V8_2),
}
"""Without the INT8 dot product (Raspberry Pi 3, 4 and Zero 2 W), and with it (Raspberry Pi 5)."""


def find_qemu() -> str | None:
    """QEMU's emulator of aarch64 programs: that of this system, or the one in ``.arm``."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), str(EMULATOR)])
    return next(filter(None, (shutil.which(name, path=places) for name in _QEMU_NAMES)), None)


def python_command(processor: str) -> list[str]:
    """Starts the aarch64 Python on a processor of `PROCESSORS`."""
    qemu = find_qemu()
    assert qemu is not None, "QEMU was there when `make test-arm` prepared .arm, and is not now"
    python = str(SYSTEM / "usr" / "bin" / "python3")
    return [qemu, "-cpu", PROCESSORS[processor].cpu, "-L", str(ARM / processor), python]


def prepare() -> None:
    """Makes whatever is missing or was made from other versions."""
    if platform.system() != "Linux" or platform.machine() in ("aarch64", "arm64"):
        _stop(
            f"this is {platform.system()} on {platform.machine()}; the emulator is for Linux on other processors. "
            "On Arm, the bundles run in all tests. Type: make test"
        )
    host = None if find_qemu() else _call("dpkg", "--print-architecture").strip()
    _make(SYSTEM, " ".join(DEBIAN_PACKAGES), lambda folder: _unpack_system(folder, host))
    version = (SYSTEM / "usr" / "bin" / "python3").readlink().name.removeprefix("python")
    _make(PACKAGES, f"python {version}: {' '.join(_pins())}", lambda folder: _install(folder, version))
    for name, processor in PROCESSORS.items():
        _overlay(ARM / name, processor)


def _make(folder: Path, source: str, build: Callable[[Path], None]) -> None:
    """Builds a folder beside its place and moves it there when it is whole; one from the same source stays."""
    note = folder / _SOURCE
    if note.is_file() and note.read_text() == source:
        return
    print(f"making {folder.relative_to(ROOT)}: {source}", flush=True)
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    build(part)
    (part / _SOURCE).write_text(source)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _unpack_system(folder: Path, host: str | None) -> None:
    """Debian's Python for arm64 and, for a `host` that has none, QEMU."""
    wanted = [*DEBIAN_PACKAGES, *([f"qemu-user-static:{host}"] if host else [])]
    _fetch(wanted, ["arm64", *([host] if host else [])])
    for package in sorted((_APT / "archives").glob("*.deb")):
        if package.stem.endswith(("_arm64", "_all")):
            _call("dpkg-deb", "--extract", str(package), str(folder))
        elif host:
            _take_emulator(package)


def _fetch(packages: list[str], architectures: list[str]) -> None:
    """Into a cache of its own, as for a system on which nothing is installed."""
    for name in ("lists", "archives"):
        (_APT / name / "partial").mkdir(parents=True, exist_ok=True)
    (_APT / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Dir::State": _APT,
        "Dir::State::status": _APT / "status",
        "Dir::Cache": _APT,
    }
    words = [f"{key}={value}" for key, value in options.items()]
    words += [f"APT::Architectures::={name}" for name in architectures]
    flags = [part for word in words for part in ("-o", word)]
    _call("apt-get", *flags, "--quiet", "update")
    _call("apt-get", *flags, "--quiet", "autoclean")  # a package's older version, fetched last year
    _call("apt-get", *flags, "--quiet", "--yes", "--download-only", "install", *packages)


def _take_emulator(package: Path) -> None:
    """The one program of the package's many."""
    EMULATOR.mkdir(exist_ok=True)
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpacked,
        tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.isfile() and Path(member.name).name in _QEMU_NAMES and "/bin/" in member.name:
                member.name = Path(member.name).name
                archive.extract(member, EMULATOR, filter="data")


def _install(folder: Path, version: str) -> None:
    """The wheels for aarch64, by pip for another machine than this one."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)]  # Debian 12 has glibc 2.36
    _call(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"),
        *("--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", version),
        *(part for name in platforms for part in ("--platform", name)),
        *("--target", str(folder), *_pins()),
    )


def _pins() -> list[str]:
    """The wheels in the versions of constraints.txt."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return [re.search(rf"^{name}==\S+", text, re.MULTILINE)[0] for name in WHEELS]


def _overlay(folder: Path, processor: Processor) -> None:
    """A root for QEMU's ``-L``: the system's, with the processor's own ``/proc/cpuinfo``."""
    (folder / "proc").mkdir(parents=True, exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(processor.cpuinfo())
    for part in SYSTEM.iterdir():
        link = folder / part.name
        if part.is_dir() and not link.exists():
            link.symlink_to(Path("..") / SYSTEM.name / part.name)


def _call(*command: str) -> str:
    """Standard output of a program that must succeed."""
    if shutil.which(command[0]) is None:
        _stop(
            f"{command[0]} is not on PATH; an aarch64 Python is fetched with apt-get, dpkg and dpkg-deb. "
            "On Debian or Ubuntu, or in a container of them, type: make test-arm"
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        _stop(
            f"`{' '.join(command[:1])} ... {command[-1]}` ended with {done.returncode}:\n{done.stderr.strip()}\n"
            "What was fetched is kept. Type: make test-arm"
        )
    return done.stdout


def _stop(message: str) -> None:
    raise SystemExit(f"error: {message}")


if __name__ == "__main__":
    prepare()
