from __future__ import annotations

import io

from rich.console import Console

from edgesmith.records import CoupledGroup, CoupledModel, KeptUnits, Pruning
from edgesmith.report.pruning import group_tables, pruning_tables
from edgesmith.report.terminal import print_table

GROUPS = (
    CoupledGroup(kind="heads", layer=0, units=4, parameters=100, macs=1000, slices=("q: 16 rows of 64", "o: 16 columns of 64")),
    CoupledGroup(kind="heads", layer=11, units=4, parameters=100, macs=1000, slices=("q of layer 11",)),
    CoupledGroup(kind="layers", layer=0, units=1, parameters=500, macs=5000, slices=("all weights of the layer",)),
    CoupledGroup(kind="hidden", layer=None, units=64, parameters=30, macs=150, slices=("embeddings: column",)),
)  # fmt: skip
MODEL = CoupledModel(model="m", model_type="bert", tokens=128, parameters=2000, macs=10000, groups=GROUPS)
PRUNING = Pruning(
    model="m", folder="out", model_class="CompactBertForSequenceClassification", metric="accuracy", validation_rows=1234,
    quality={"before": 0.9, "search": 0.8, "tuning": 0.85}, agreement={"before": 1.0, "search": 0.82, "tuning": 0.9},
    kept=(KeptUnits(name="layer 0 heads", units=12, indices=(0, 3), scales=(0.5, 1.25)), KeptUnits(name="hidden", units=64, indices=(1,))),
    tokens=14, macs_before=200, macs_after=100, parameters_before=1000, parameters_after=750,
    wall_s={"importance": 2.0, "search": 0.5, "tuning": 3.0, "evaluation": 9.0},
)  # fmt: skip


def test_groups_stand_with_their_costs_and_their_shares():
    groups, slices = group_tables(MODEL)
    assert groups.rows == (
        ("layer 0 heads", "4", "100", "1,000", "20.00 %", "40.00 %"),
        ("layer 11 heads", "4", "100", "1,000", "20.00 %", "40.00 %"),
        ("layer 0", "1", "500", "5,000", "25.00 %", "50.00 %"),
        ("hidden", "64", "30", "150", "96.00 %", "96.00 %"),
    )
    assert "2,000 parameters, 10,000 MACs at 128 tokens" in groups.notes[1]
    assert slices.rows == (
        ("attention heads", "q: 16 rows of 64"),
        ("", "o: 16 columns of 64"),
        ("whole layers", "all weights of the layer"),
        ("hidden units of the residual stream", "embeddings: column"),
    )


def test_a_pruning_tells_its_stages_what_stays_and_what_it_costs():
    stages, kept, cost = pruning_tables(PRUNING)
    assert stages.rows == (
        ("as it came", "0.9000", "-", "100.00 %", "-"),
        ("after the search", "0.8000", "10.00", "82.00 %", "2.5"),
        ("after tuning", "0.8500", "5.00", "90.00 %", "3.0"),
    )
    assert kept.rows == (("layer 0 heads", "2 of 12", "0.50 to 1.25"), ("hidden", "1 of 64", "-"))
    assert cost.rows == (("parameters", "1,000", "750", "75.00 %"), ("MACs", "200", "100", "50.00 %"))
    assert "after `import edgesmith.models`" in cost.notes[1]


def test_rows_keep_to_a_line_at_80_columns():
    out = io.StringIO()
    for table in (next(group_tables(MODEL)), *pruning_tables(PRUNING)):
        print_table(table, Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for row in ("layer 11 heads", "after the search", "layer 0 heads", "parameters"):
        assert any(line.startswith(row) and "." in line for line in lines), row
