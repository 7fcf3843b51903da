import numpy as np
import pytest
from safetensors.numpy import save_file

from edgesmith.errors import MeasureError
from edgesmith.measure.size import folder_bytes, fp32_safetensors_bytes, model_bytes


def test_folder_bytes_are_the_files_of_all_levels(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 7)
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "deep" / "b").write_bytes(b"y" * 5)
    assert folder_bytes(tmp_path) == 12


def test_folder_bytes_of_no_folder(tmp_path):
    with pytest.raises(MeasureError, match="is not a folder"):
        folder_bytes(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "expected"), [("model.onnx", 7), ("model.tflite", 7), ("model.pte", 7), ("model.xml", 7 + 5)]
)
def test_a_model_is_as_large_as_its_files(tmp_path, name, expected):
    """OpenVINO keeps the weights in a file of their own."""
    (tmp_path / name).write_bytes(b"x" * 7)
    (tmp_path / "model.bin").write_bytes(b"y" * 5)
    (tmp_path / "graph.bin").write_bytes(b"z" * 3)  # of another model
    assert model_bytes(tmp_path / name) == expected


def test_fp32_weights_have_the_size_of_their_file(tmp_path):
    file = tmp_path / "model.safetensors"
    tensors = {"w": np.ones((3, 5), np.float32), "ids": np.arange(4), "scalar": np.array(1, np.float32)}
    save_file(tensors, file, metadata={"format": "pt"})
    assert fp32_safetensors_bytes(file) == file.stat().st_size


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_count_as_fp32(tmp_path, dtype):
    half, full = tmp_path / "half.safetensors", tmp_path / "full.safetensors"
    save_file({"w": np.ones((64, 33), dtype), "ids": np.arange(4)}, half)
    save_file({"w": np.ones((64, 33), np.float32), "ids": np.arange(4)}, full)
    assert fp32_safetensors_bytes(half) == pytest.approx(full.stat().st_size, abs=8)  # digits of the offsets


def test_int8_weights_keep_their_size(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"w": np.ones((64, 33), np.int8), "on": np.ones(2, np.bool_)}, file)
    assert fp32_safetensors_bytes(file) == file.stat().st_size


def test_shards_of_a_folder_add_up(tmp_path):
    for name, rows in (("model-1", 3), ("model-2", 4)):
        save_file({name: np.ones((rows, 8), np.float32)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "config.json").write_text("{}")
    expected = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert fp32_safetensors_bytes(tmp_path) == expected


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(MeasureError, match=r"no \.safetensors file at"):
        fp32_safetensors_bytes(tmp_path)
    with pytest.raises(MeasureError, match=r"no \.safetensors file at"):
        fp32_safetensors_bytes(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 a zip archive", "cut short"),
        (b"", "cut short|damaged"),
        (b"\x04" + b"\0" * 7 + b"{{{{", "damaged header"),
    ],
)
def test_a_damaged_file(tmp_path, content, message):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(MeasureError, match=message):
        fp32_safetensors_bytes(file)
