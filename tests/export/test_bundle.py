from __future__ import annotations

import hashlib
import itertools
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fixtures_text import CHILD_ENVIRONMENT, mean_model, minilm_folder, write_small_bundle

from edgesmith.errors import ExportError
from edgesmith.records import MANIFEST_HASH_NAME, MANIFEST_NAME, Manifest, read_json
from edgesmith.runtime import load_bundle, open_bundle
from edgesmith.runtime.bundle import hash_file

OF_MANIFEST = (MANIFEST_NAME, MANIFEST_HASH_NAME)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def child(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_everything_is_there_and_hashed(tmp_path):
    manifest = write_small_bundle(tmp_path / "deep" / "bundle")
    folder = tmp_path / "deep" / "bundle"
    assert names(folder) == ["labels.json", *OF_MANIFEST, "model.onnx", "run.py", "tokenizer.json"]
    assert names(tmp_path / "deep") == [
        f"bundle/{name}" for name in names(folder)
    ]  # nothing is left beside it
    assert {entry.path: (entry.size_bytes, entry.sha256) for entry in manifest.files} == {
        name: ((folder / name).stat().st_size, hash_file(folder / name))
        for name in names(folder)
        if name not in OF_MANIFEST
    }
    assert read_json(Manifest, folder / MANIFEST_NAME) == manifest
    assert manifest.provenance == {"model": "seeded"}
    assert manifest.plan.counts() == {"fp32": 1}


def test_paths_texts_and_bytes_are_taken_as_they_are(tmp_path):
    tokenizer = minilm_folder() / "tokenizer.json"
    extra = {"notes/größe.txt": "Größe\n", "weights.bin": b"\0\xff\r\n"}
    files = {"model.onnx": mean_model().SerializeToString(), "tokenizer.json": tokenizer, **extra}
    manifest = write_small_bundle(tmp_path / "bundle", files=files)
    assert (tmp_path / "bundle" / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    assert (tmp_path / "bundle" / "notes" / "größe.txt").read_bytes() == "Größe\n".encode()
    assert (tmp_path / "bundle" / "weights.bin").read_bytes() == b"\0\xff\r\n"
    assert "notes/größe.txt" in [entry.path for entry in manifest.files]


def test_the_manifest_is_hashed_as_sha256sum_does(tmp_path):
    write_small_bundle(tmp_path / "bundle")
    digest = hashlib.sha256((tmp_path / "bundle" / "manifest.json").read_bytes()).hexdigest()
    assert (tmp_path / "bundle" / "manifest.json.sha256").read_text() == f"{digest}  manifest.json\n"


def test_the_same_contents_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_small_bundle(tmp_path / name)
    assert hash_file(tmp_path / "one" / MANIFEST_NAME) == hash_file(tmp_path / "two" / MANIFEST_NAME)


def test_an_older_bundle_is_replaced_whole(own_bundle):
    (own_bundle / "stale.bin").write_bytes(b"of the older one")
    write_small_bundle(own_bundle, labels=("bad", "good"))
    assert open_bundle(own_bundle).manifest.labels == ("bad", "good")
    assert "stale.bin" not in names(own_bundle)
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


def test_an_empty_folder_is_taken_and_another_one_left_alone(tmp_path):
    (tmp_path / "empty").mkdir()
    write_small_bundle(tmp_path / "empty")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_text("mine")
    for name in ("photos", "file"):
        with pytest.raises(ExportError, match=f"{name} exists and is no bundle; it is left alone"):
            write_small_bundle(tmp_path / name)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "photos"]


@pytest.mark.parametrize(
    "name", ["run.py", *OF_MANIFEST, "../model.onnx", "/model.onnx", "..\\model.onnx", ""]
)
def test_names_that_cannot_be_used_are_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(ExportError, match="a bundle cannot take a file named"):
        write_small_bundle(tmp_path / "bundle", files={name: b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "other.onnx"}, "'other.onnx' is not among its files"),
        ({"files": {"model.onnx": b"x"}}, "'tokenizer.json' is not among its files"),
        ({"labels": ()}, "0 labels"),
    ],
)
def test_what_would_not_open_is_not_put_in_place(own_bundle, changes, message):
    before = hash_file(own_bundle / MANIFEST_NAME)
    with pytest.raises(ExportError, match=f"the bundle would not open.*{message}"):
        write_small_bundle(own_bundle, **changes)
    assert hash_file(open_bundle(own_bundle).path / MANIFEST_NAME) == before
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


def test_a_source_that_is_absent_is_named_and_the_older_bundle_stays(own_bundle, tmp_path):
    with pytest.raises(ExportError, match=r"No such file or directory \(.*absent\.bin\)"):
        write_small_bundle(own_bundle, files={"model.onnx": tmp_path / "absent.bin"})
    assert load_bundle(own_bundle).predict("a text")
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


WRITE_WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from fixtures_text import write_small_bundle
from edgesmith.errors import ExportError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_small_bundle(Path(sys.argv[1]), labels=("new", "newer"))
except ExportError as error:
    print(error)
"""


def test_a_write_that_the_system_refuses_leaves_the_older_bundle(own_bundle):
    """A limit on file sizes stands for a full disk: the kernel ends the write half-way with an error."""
    command = child(WRITE_WITH_LITTLE_ROOM, own_bundle)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=CHILD_ENVIRONMENT)
    assert done.stdout.startswith(f"{own_bundle}: the bundle could not be written: File too large (")
    assert "What was there before is unchanged." in done.stdout
    assert open_bundle(own_bundle).manifest.labels == ("negative", "positive")
    assert [path.name for path in own_bundle.parent.iterdir()] == [own_bundle.name]


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from fixtures_text import bundle_contents
from edgesmith.export.bundle import write_bundle
contents = bundle_contents()
for count in itertools.count():
    write_bundle(Path(sys.argv[1]), **{**contents, "labels": (str(count), "b")})
    print(count, flush=True)
"""


def test_a_killed_write_leaves_a_whole_bundle(tmp_path):
    folder = tmp_path / "bundle"
    for delay_ms in (1, 4, 9, 15, 24):
        process = subprocess.Popen(
            child(WRITE_FOR_EVER, folder), stdout=subprocess.PIPE, env=CHILD_ENVIRONMENT
        )
        process.stdout.readline()
        time.sleep(delay_ms / 1e3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        whole = folder if folder.exists() else tmp_path / ".bundle.old"
        assert open_bundle(whole).manifest.labels[1] == "b"
    write_small_bundle(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]  # what the killed ones left is gone


def test_an_older_bundle_set_aside_by_a_killed_write_is_put_back(own_bundle, tmp_path):
    """Killed between its two renames, a write leaves this."""
    aside = own_bundle.with_name(f".{own_bundle.name}.old")
    own_bundle.rename(aside)
    shutil.copytree(aside, own_bundle.with_name(f".{own_bundle.name}.partial"))
    with pytest.raises(ExportError, match=r"absent\.bin"):  # a next call that fails as well
        write_small_bundle(own_bundle, files={"model.onnx": tmp_path / "absent.bin"})
    assert open_bundle(own_bundle).manifest.labels == ("negative", "positive")
    assert not aside.exists()


def test_the_order_of_files_does_not_matter(tmp_path):
    files = {"model.onnx": b"m", "tokenizer.json": b"t", "a.bin": b"a"}
    manifests = [
        write_small_bundle(tmp_path / str(i), files=dict(order)).files
        for i, order in enumerate(itertools.permutations(files.items()))
    ]
    assert len(set(manifests)) == 1
