from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures_targets import calibrated

from edgesmith.analyze.analysis import ask
from edgesmith.analyze.latency import LatencyModel
from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.records import VISION_ZOO, find_zoo_model
from edgesmith.targets import load_target

TINY = find_zoo_model("tinybert-4").shape


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_is_what_analyze_expects(precision):
    latency_ms = LatencyModel(target=calibrated(), tokens=32, threads=1)
    expected = ask(TINY, calibrated(), length=32, precision=precision, threads=1).latency_ms(precision)[1]
    assert latency_ms(TINY, precision) == expected > 0


def test_less_takes_less_and_images_have_their_own_length():
    latency_ms = LatencyModel(target=calibrated(), tokens=32)
    fewer = replace(TINY, neurons=tuple(count // 2 for count in TINY.neurons))
    assert latency_ms(fewer, "int8") < latency_ms(TINY, "int8") < latency_ms(TINY, "fp32")
    longer = LatencyModel(target=calibrated(), tokens=64)
    assert latency_ms(TINY, "int8") < longer(TINY, "int8")
    image = VISION_ZOO["deit-tiny"].shape
    assert latency_ms(image, "int8") == longer(image, "int8")


def test_an_unknown_precision_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match=r"precision 'int9'.*Did you mean 'int8'"):
        LatencyModel(target=calibrated(), tokens=32)(TINY, "int9")


def test_a_precision_that_the_profile_lacks_is_refused_with_those_it_has():
    with pytest.raises(UnsupportedError, match="cpu of 'mine' does not execute fp16; it executes fp32, int8"):
        LatencyModel(target=calibrated(), tokens=32)(TINY, "fp16")


def test_a_precision_without_measured_rates_is_refused():
    target = calibrated()
    unit = replace(target.unit(), precisions=("fp32", "int8", "fp16"))
    with pytest.raises(
        UnsupportedError, match="no rates of fp16 were measured on 'mine'; measured: fp32, int8"
    ):
        LatencyModel(target=replace(target, units={"cpu": unit}), tokens=32)(TINY, "fp16")


@pytest.mark.parametrize(
    ("name", "line"), [("raspberry-pi-5", "calibrate --name my-raspberry-pi-5 -o ."), ("host", "calibrate$")]
)
def test_a_floor_is_no_latency(name, line, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # without this machine's own profile
    with pytest.raises(UnsupportedError, match=rf"no rates were measured on '{name}'.*{line}"):
        LatencyModel(target=load_target(name), tokens=32)
