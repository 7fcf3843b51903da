from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgesmith.errors import BundleError
from edgesmith.runtime import open_bundle
from edgesmith.runtime.bundle import hash_file, is_inside

FILES = ("labels.json", "model.onnx", "run.py", "tokenizer.json")


ALL_FILES = (*FILES, "manifest.json", "manifest.json.sha256")


def change_manifest(folder: Path, **changes: object) -> None:
    """Changes what the manifest says, and hashes it again as whoever wrote it would."""
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    (folder / "manifest.json.sha256").write_text(f"{hash_file(path)}  manifest.json\n")


def test_opens_what_was_written(small_bundle):
    bundle = open_bundle(small_bundle)
    assert tuple(entry.path for entry in bundle.manifest.files) == FILES
    assert bundle.manifest.labels == ("negative", "positive")
    assert bundle.model_path == small_bundle / "model.onnx"
    assert bundle.tokenizer_path.is_file()


def test_every_file_of_the_bundle_is_known_here(small_bundle):
    assert {path.name for path in small_bundle.iterdir()} == {*ALL_FILES}


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first", "middle", "last"])
def test_a_flipped_bit_is_refused_with_the_files_name(own_bundle, name, place):
    content = bytearray((own_bundle / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (own_bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} (or \S+ )?has changed: "):
        open_bundle(own_bundle)


def test_every_flipped_bit_of_the_manifest_is_refused_with_its_name(own_bundle):
    """What it says of other files included: none of them is blamed."""
    path = own_bundle / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(BundleError, match=r"manifest\.json or \S+ has changed"):
            open_bundle(own_bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_missing_file_is_refused_with_its_name(own_bundle, name):
    content = (own_bundle / name).read_bytes()
    (own_bundle / name).write_bytes(content[:-1])
    with pytest.raises(
        BundleError, match=rf"{name} has {len(content) - 1} bytes; the manifest says {len(content)}\."
    ):
        open_bundle(own_bundle)
    (own_bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        open_bundle(own_bundle)


def test_a_folder_in_place_of_a_file_is_refused(own_bundle):
    (own_bundle / "labels.json").unlink()
    (own_bundle / "labels.json").mkdir()
    with pytest.raises(BundleError, match=r"labels\.json"):
        open_bundle(own_bundle)


def test_without_verify_only_the_manifest_is_read(own_bundle):
    (own_bundle / "model.onnx").write_bytes(b"changed")
    assert open_bundle(own_bundle, verify=False).manifest.model == "model.onnx"


def test_files_beside_the_bundles_own_are_left_alone(own_bundle):
    (own_bundle / "__pycache__").mkdir()
    (own_bundle / "__pycache__" / "run.cpython-311.pyc").write_bytes(b"\0")
    (own_bundle / "answers.txt").write_text("positive\n")
    assert open_bundle(own_bundle).path == own_bundle


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/../../b", "..\\model.onnx", "C:\\model.onnx", ""]
)
def test_a_path_outside_the_bundle_is_refused_even_without_verify(own_bundle, name):
    assert not is_inside(name)
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    entry = {"path": name, "size_bytes": 1, "sha256": "0"}
    change_manifest(own_bundle, files=[*manifest["files"], entry])
    with pytest.raises(BundleError, match="would lie outside the bundle"):
        open_bundle(own_bundle, verify=False)


@pytest.mark.parametrize("name", ["model.onnx", "a/b.bin", "..model", "a..b/c"])
def test_a_path_inside_the_bundle_is_allowed(name):
    assert is_inside(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2; this release reads 1"),
        ({"model": "other.onnx"}, "'other.onnx' is not among its files: labels.json, model.onnx"),
        ({"files": []}, "'model.onnx' is not among its files"),
        ({"labels": []}, "0 labels"),
        ({"max_length": 0}, "max_length of 0 tokens"),
        ({"max_length": "32"}, "max_length: expected int, got str '32'"),
        ({"lables": []}, "unknown key 'lables'. Did you mean 'labels'"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(own_bundle, changes, message):
    change_manifest(own_bundle, **changes)
    with pytest.raises(BundleError) as caught:
        open_bundle(own_bundle)
    assert message in str(caught.value)


def test_a_manifest_with_another_files_hash_is_refused(own_bundle):
    manifest = json.loads((own_bundle / "manifest.json").read_text())
    for entry in manifest["files"]:
        entry["sha256"] = hash_file(own_bundle / "labels.json")
    change_manifest(own_bundle, files=manifest["files"])
    with pytest.raises(BundleError, match=r"model\.onnx has changed"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ["positive", "negative"]},
        {"max_length": 31},
        {"metrics": {}},
        {"task": "image-classification"},
    ],
    ids=str,
)
def test_a_manifest_that_was_changed_and_still_makes_sense_is_refused(own_bundle, changes):
    digest = (own_bundle / "manifest.json.sha256").read_text()
    change_manifest(own_bundle, **changes)
    assert open_bundle(own_bundle).path == own_bundle
    (own_bundle / "manifest.json.sha256").write_text(digest)
    with pytest.raises(BundleError, match=r"manifest\.json\.sha256 has changed: the second does not hold"):
        open_bundle(own_bundle)
    assert open_bundle(own_bundle, verify=False).path == own_bundle


def test_a_cut_manifest_is_refused(own_bundle):
    path = own_bundle / "manifest.json"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BundleError, match=r"manifest\.json or \S+ has changed"):
        open_bundle(own_bundle)
    with pytest.raises(BundleError, match=r"manifest\.json: not valid JSON"):
        open_bundle(own_bundle, verify=False)


def test_a_manifest_without_its_hash_is_refused(own_bundle):
    (own_bundle / "manifest.json.sha256").unlink()
    with pytest.raises(BundleError, match=r"manifest\.json\.sha256 is missing"):
        open_bundle(own_bundle)
    assert open_bundle(own_bundle, verify=False).path == own_bundle


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json"):
            open_bundle(path)


def test_hash_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(tmp_path / "abc") == expected
