"""Every family on every runtime in every precision that it has there: what its file answers beside PyTorch's model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_images import random_pixels, tiny_compact_vit, tiny_deit, tiny_dinov2, tiny_vit
from fixtures_models import random_batch, tiny_bert, tiny_compact, tiny_distilbert, tiny_mobilebert
from transformers import PreTrainedModel

from edgesmith.compress.quantize import is_small_table, layer_kind, quantizable_layers, scheme_layer
from edgesmith.errors import ExportError, MissingExtraError
from edgesmith.export import exporter
from edgesmith.measure.parity import check_parity
from edgesmith.records import RUNTIME_NAMES, Plan, Scheme
from edgesmith.records.plan import WeightDtype
from edgesmith.runtime.predictor import open_session
from edgesmith.targets import CAPABILITIES, WEIGHT_DTYPES

pytestmark = pytest.mark.slow

LONGEST = 16
LENGTHS = (1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 15, LONGEST)

FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": tiny_bert,
    "distilbert": tiny_distilbert,
    "mobilebert": tiny_mobilebert,
    "compact": tiny_compact,
    "vit": tiny_vit,
    "deit": tiny_deit,
    "dinov2": tiny_dinov2,
    "compact-vit": tiny_compact_vit,
}
"""Random weights, two or three layers of width 32: what rounding costs there is more than in a trained model of full width,
where errors of many products cancel and labels lie far apart."""


@dataclass(frozen=True)
class Bounds:
    """How far answers may be from PyTorch's.

    Attributes:
        error: largest difference of a logit, as a part of the largest logit.
        cosine: least, of all logits of all rows as one vector.
        agreement: least share of rows with the same label.
    """

    error: float
    cosine: float
    agreement: float


BOUNDS: dict[WeightDtype, Bounds] = {
    # The same arithmetic with its sums in another order: 24 bits, some of them lost on the way (9e-7 seen).
    "fp32": Bounds(error=1e-5, cosine=1 - 1e-10, agreement=1.0),
    # A weight keeps 11 bits and moves by at most 2^-12 of itself, 2.4e-4; the arithmetic is FP32 (1e-3 seen).
    "fp16": Bounds(error=3e-3, cosine=1 - 3e-6, agreement=0.9),
    # A weight moves by at most 1/254 of its row's largest, an input by as much of its token's or tensor's (6e-2 seen).
    "int8": Bounds(error=0.1, cosine=0.998, agreement=0.9),
    # A weight has 15 levels: it moves by at most 1/14 of its row's or block's largest (0.4 seen, in blocks).
    "int4": Bounds(error=0.8, cosine=0.8, agreement=0.5),
}
"""Of twelve rows one may have another label in INT8: with random weights, labels lie close together."""

FOLDED = {("compact", "litert", "int4"): replace(BOUNDS["int4"], cosine=0.6)}
"""LiteRT's converter multiplies a norm's scale into the matrix behind it before that is rounded: a cosine of 0.67, 0.62 in
PyTorch with the same folded matrices, and 0.93 with the matrices as they are."""


def computed(runtime: str) -> list[WeightDtype]:
    """How linear layers can be stored for it."""
    rows = [row for row in CAPABILITIES if (row.runtime, row.kind) == (runtime, "linear")]
    return [dtype for dtype in WEIGHT_DTYPES if any(row.weight == dtype for row in rows)]


UNSUPPORTED = {
    ("mobilebert", "executorch"): pytest.mark.xfail(
        raises=ExportError, reason="PyTorch wants at least 3 tokens where a token is cut off either end"
    )
}

CELLS = [
    pytest.param(family, runtime, dtype, marks=UNSUPPORTED.get((family, runtime), ()))
    for family in FAMILIES
    for runtime in RUNTIME_NAMES
    for dtype in computed(runtime)
]


@dataclass(frozen=True)
class Written:
    """A model as a runtime's graph, what it is asked, and what PyTorch answers, (N, labels)."""

    model: PreTrainedModel
    graph: Path
    rows: list[dict[str, np.ndarray]]
    reference: np.ndarray


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Written]:
    """One graph for all precisions of a family on a runtime."""
    made: dict[tuple[str, str], Written] = {}

    def write(family: str, runtime: str) -> Written:
        if (family, runtime) not in made:
            made[family, runtime] = make(family, runtime, tmp_path_factory.mktemp(f"{family}-{runtime}"))
        return made[family, runtime]

    return write


def make(family: str, runtime: str, folder: Path) -> Written:
    """Skips the test where the runtime's converter is not installed."""
    try:
        writer = exporter(runtime)
    except MissingExtraError as error:
        pytest.skip(str(error))
    model = FAMILIES[family]()
    rows = questions(model)
    graph = folder / Path(writer.MODEL_NAME).with_stem("graph")
    writer.export_graph(model, graph, max_length=LONGEST, pairs="token_type_ids" in rows[0])
    with torch.no_grad():
        tensors = [{name: torch.from_numpy(values) for name, values in row.items()} for row in rows]
        reference = torch.cat([model(**row).logits for row in tensors]).numpy()
    return Written(model, graph, rows, reference)


def questions(model: PreTrainedModel) -> list[dict[str, np.ndarray]]:
    """Texts of random tokens or noisy images, each a batch of one."""
    if model.main_input_name == "pixel_values":
        size = model.config.image_size
        pixels = random_pixels(len(LENGTHS), tuple(size) if isinstance(size, list) else (size, size))
        return [{"pixel_values": row[None].numpy()} for row in pixels["pixel_values"]]
    batches = [random_batch([length], pairs=False, seed=length) for length in LENGTHS]
    return [{name: batch[name].numpy() for name in ("input_ids", "attention_mask")} for batch in batches]


def plan_of(model: PreTrainedModel, runtime: str, dtype: WeightDtype) -> Plan:
    """Linear layers in one precision, tables in it or, where there is none, in the next higher; small tables in FP32."""

    def scheme(kind: str) -> Scheme:
        for wanted in (dtype, "int8"):
            for row in CAPABILITIES:
                if (row.runtime, row.kind, row.weight) == (
                    runtime,
                    kind,
                    wanted,
                ) and row.activation != "static_int8":
                    return (
                        Scheme(row.weight, row.granularity, row.activation)
                        if row.granularity
                        else Scheme(wanted)
                    )
        raise AssertionError(kind)

    return Plan(
        layers=tuple(
            scheme_layer(name, module, scheme(layer_kind(module)))
            for name, module in quantizable_layers(model).items()
            if not is_small_table(name)
        )
    )


@pytest.mark.parametrize(("family", "runtime", "dtype"), CELLS)
def test_a_file_answers_as_the_model_does(
    family: str, runtime: str, dtype: WeightDtype, written: Callable[[str, str], Written], tmp_path: Path
) -> None:
    one = written(family, runtime)
    plan = plan_of(one.model, runtime, dtype)
    artifact = exporter(runtime).lower(one.graph, plan, tmp_path / exporter(runtime).MODEL_NAME)
    assert artifact.stored == {entry.layer: entry.weight for entry in plan.layers}
    found = np.concatenate([open_session(runtime, artifact.path).run(row) for row in one.rows])
    bounds = FOLDED.get((family, runtime, dtype), BOUNDS[dtype])
    most = float(np.abs(one.reference).max())
    parity = check_parity(
        one.reference, found, tolerance=bounds.error * most, name=f"{family} {runtime} {dtype}"
    )
    flat = (1, -1)
    cosine = check_parity(
        one.reference.reshape(flat), found.reshape(flat), tolerance=np.inf, name="all"
    ).min_cosine
    assert cosine >= bounds.cosine
    assert parity.label_agreement >= bounds.agreement
