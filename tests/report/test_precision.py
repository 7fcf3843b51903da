"""The plot of what each layer suffers, and the page that shows it."""

from __future__ import annotations

import re
from dataclasses import replace

from edgesmith.records import NO_NUMBER, LayerSensitivity, Sensitivities
from edgesmith.report.plots.precision import sensitivities
from edgesmith.report.plots.svg import style
from edgesmith.report.quantization import sensitivity_page, write_sensitivity

LINEAR = LayerSensitivity(
    layer="layers.0.ffn.output", kind="linear", parameters=64, macs=640.0,
    weights={"int8 per_channel": 1e-4, "int4 per_block": 2e-3}, activations={"static": 0.25, "dynamic": 0.0},
    vanished_weights={}, vanished_inputs=0.0,
)  # fmt: skip
TABLE = LayerSensitivity(
    layer="embeddings.word", kind="embedding", parameters=640, macs=0.0, weights={"int8 per_channel": 3e-4},
    activations={}, vanished_weights={}, vanished_inputs=0.0,
)  # fmt: skip
FOUND = Sensitivities(
    model="m", runtime="onnxruntime", rows=8, range_rows=8, observer="mse", layers=(TABLE, LINEAR), wall_s=1.0
)


def _marks(found: Sensitivities, role: str) -> int:
    """Filled marks of a colour. matplotlib draws each as a ``use`` of a path."""
    with style():
        svg = sensitivities(found).svg
    return len(re.findall(rf"<use [^>]*fill: var\(--{role}\)", svg))


def test_every_divergence_above_zero_has_a_mark_in_the_colour_of_its_kind():
    assert _marks(FOUND, "artifact") == 3
    assert _marks(FOUND, "ffn") == 1  # `dynamic` costs nothing, and a logarithm of 0 is none
    broken = replace(LINEAR, activations={"static": NO_NUMBER})
    assert _marks(replace(FOUND, layers=(TABLE, broken)), "ffn") == 0


def test_the_plot_tells_its_marks_and_the_worst_of_each_layer():
    with style():
        plot = sensitivities(FOUND)
    assert "Blue: weights in int8 per channel (circle), int4 per block (square)" in plot.caption
    assert "Orange: inputs in static (circle), dynamic (square)" in plot.caption
    assert "embeddings.word 0.0003  int8 per channel" in plot.svg
    assert "layers.0.ffn.output 0.25  static" in plot.svg
    broken = replace(LINEAR, activations={"static": NO_NUMBER})
    with style():
        assert "layers.0.ffn.output no number  static" in sensitivities(replace(FOUND, layers=(broken,))).svg


def test_nothing_to_draw_is_no_error():
    silent = replace(TABLE, weights={"int8 per_channel": 0.0})
    assert _marks(replace(FOUND, layers=(silent,)), "artifact") == 0


def test_the_page_shows_the_plot_beside_it(tmp_path):
    write_sensitivity(FOUND, tmp_path, "sensitivity")
    page = (tmp_path / "sensitivity.md").read_text(encoding="utf-8")
    assert "![What quantization costs each layer of m](sensitivity.svg)" in page
    assert "| layers.0.ffn.output |" in page
    assert (tmp_path / "sensitivity.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert ".svg" not in sensitivity_page(FOUND)
