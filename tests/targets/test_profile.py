"""Every figure of a profile has a source; what is not known is absent and says so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from edgesmith.errors import RecipeError, UnsupportedError
from edgesmith.records import CopyRate, Environment, KernelRate, Rates
from edgesmith.targets import HOST, Target, Unit, load_target, shipped_names

NAMED = [
    "jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "jetson-xavier-nx", "snapdragon-8-gen-2",
    "snapdragon-8-gen-3", "snapdragon-8-elite", "apple-a15", "apple-a17-pro", "apple-m1", "apple-m2", "apple-m4",
    "raspberry-pi-4", "raspberry-pi-5", "nxp-imx93", "rockchip-rk3588", "generic-x86",
]  # fmt: skip


def board(**changes: Any) -> Target:
    unit = Unit(
        kind="cpu", cores=4, clock_hz=10**9, macs_per_cycle={"fp32": 8}, precisions=("fp32", "int8"),
        sources=dict.fromkeys(("cores", "clock_hz", "macs_per_cycle", "precisions"), "a manual"),
    )  # fmt: skip
    return Target(
        **{"name": "board", "description": "a board", "runtimes": (), "units": {"cpu": unit}} | changes
    )


@pytest.mark.parametrize("name", shipped_names())
def test_every_profile_loads_and_every_figure_has_a_source(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.runtimes
    for record in (target, *target.units.values()):
        known = {figure for figure, value in record.figures().items() if value is not None}
        assert known == set(record.sources)
        assert all(text.strip() for text in (*record.sources.values(), *record.unknown.values()))


def test_every_named_device_has_a_profile_with_an_executed_precision() -> None:
    assert set(NAMED) <= set(shipped_names())
    assert all(load_target(name).unit().precisions for name in NAMED)


def test_phones_and_boards_with_accelerators_have_them() -> None:
    for name in shipped_names():
        kinds = {unit.kind for unit in load_target(name).units.values()}
        assert "cpu" in kinds
        if name.startswith(("jetson", "snapdragon", "apple")):
            assert kinds & {"gpu", "npu"}, name


def test_the_host_is_measured_so_its_profile_states_no_figure() -> None:
    assert shipped_names()[0] == HOST
    host = load_target(HOST)
    assert host.is_host
    assert {*host.figures().values(), *host.unit().figures().values()} == {None}
    assert [name for name in shipped_names() if load_target(name).is_host] == [HOST]


def test_raspberry_pi_5_is_what_its_product_brief_says() -> None:
    target = load_target("raspberry-pi-5")
    cpu = target.unit()
    assert (cpu.cores, cpu.clock_hz, target.memory) == (4, 2_400_000_000, "LPDDR4X-4267")
    assert target.memory_bandwidth_bytes_s == 4267e6 * 32 / 8
    assert cpu.last_level_cache_bytes == 2 * 2**20
    assert cpu.peak("int8") == 307.2e9  # 4 cores x 2.4 GHz x two pipes of 16
    assert "supply" in load_target("raspberry-pi-zero-2-w").unknown["power_max_w"]


CORES = {
    "Cortex-A72": (1, 8), "Cortex-A55": (1, 16), "Cortex-A76": (2, 16), "Cortex-A78AE": (2, 16),
    "Cortex-A715": (2, 32), "Cortex-A720": (2, 32), "Cortex-X3": (4, 32), "Cortex-X4": (4, 32),
}  # fmt: skip
"""Core -> its 128-bit pipes, and the INT8 products of one instruction: SMLAL 8, SDOT 16, SMMLA 32."""


@pytest.mark.parametrize("name", shipped_names())
def test_a_cpu_multiplies_what_its_pipes_and_instructions_do(name: str) -> None:
    for unit in load_target(name).units.values():
        if not unit.macs_per_cycle:
            continue
        pipes, products = CORES[re.findall(r"Cortex-\w+", unit.processor or "")[0]]
        features = set(unit.features or ())
        assert products == (32 if "i8mm" in features else 16 if "asimddp" in features else 8)
        halves = {"fp16": pipes * 8} if "asimdhp" in features else {}
        assert unit.macs_per_cycle == {"fp32": pipes * 4, "int8": pipes * products} | halves


BUSES = {
    "raspberry-pi-4": (32, 3200), "raspberry-pi-5": (32, 4267), "jetson-xavier-nx": (128, 2 * 1600),
    "jetson-orin-nx": (128, 6400), "jetson-agx-orin": (256, 6400), "snapdragon-8-gen-2": (4 * 16, 2 * 4200),
    "snapdragon-8-gen-3": (4 * 16, 2 * 4800),
}  # fmt: skip
"""Device -> bits of its memory bus, and megatransfers a second."""


def test_a_bandwidth_is_width_times_rate_or_stated_as_such() -> None:
    stated = {"jetson-orin-nano": 68e9, "apple-m1": 100e9 / 1.5, "apple-m2": 100e9, "apple-m4": 120e9}
    computed = {name: bits / 8 * rate * 1e6 for name, (bits, rate) in BUSES.items()}
    known = {name: load_target(name).memory_bandwidth_bytes_s for name in shipped_names()}
    assert {name: each for name, each in known.items() if each} == pytest.approx(stated | computed, rel=1e-3)


def _tensor_cores(cuda: int, tensor: int, hz: float) -> dict[str, float]:
    return {"fp32": cuda * hz, "fp16": tensor * 256 * hz, "int8": tensor * 512 * hz}  # Ampere, dense


ACCELERATORS = {
    ("jetson-agx-orin", "gpu"): _tensor_cores(2048, 64, 1.3e9),
    ("jetson-orin-nx", "gpu"): _tensor_cores(1024, 32, 918e6),
    ("jetson-orin-nano", "gpu"): _tensor_cores(1024, 32, 625e6),
    ("jetson-xavier-nx", "gpu"): {"fp32": 384 * 1.1e9, "fp16": 48 * 64 * 1.1e9, "int8": 21e12 / 2},
    ("jetson-agx-orin", "npu"): {"int8": 105e12 / 2 / 2},
    ("jetson-orin-nx", "npu"): {"int8": 50e12 / 2 - 32 * 512 * 918e6},
    ("rockchip-rk3588", "npu"): {"fp16": 3 * 512e9, "int8": 3 * 1024e9, "int4": 3 * 2048e9},
    ("nxp-imx93", "npu"): {"int8": 256e9},
    ("apple-a15", "npu"): {"fp16": 15.8e12 / 2}, ("apple-a17-pro", "npu"): {"int8": 35e12 / 2},
    ("apple-m1", "npu"): {"fp16": 11e12 / 2}, ("apple-m2", "npu"): {"fp16": 15.8e12 / 2},
    ("apple-m4", "npu"): {"int8": 38e12 / 2},
}  # fmt: skip
"""Unit -> MACs a second: its MACs a cycle x its clock, or half of the operations that the vendor states."""


def test_every_accelerators_rate_is_its_units_times_clock_or_half_its_operations() -> None:
    known = {
        (name, place): unit.macs_per_s
        for name in shipped_names()
        for place, unit in load_target(name).units.items()
        if unit.macs_per_s
    }
    assert set(known) == set(ACCELERATORS)
    for place, rates in known.items():
        assert rates == pytest.approx(ACCELERATORS[place], rel=0.01), place


def test_a_peak_is_cores_times_clock_times_macs_a_cycle() -> None:
    unit = board().unit()
    assert unit.peak("fp32") == 4 * 10**9 * 8
    assert unit.peak("fp32", threads=1) == 10**9 * 8
    assert unit.peak("fp32", threads=9) == unit.peak("fp32")
    assert unit.peak("int8") is None  # executed, and no rate is stated


def test_measured_rates_go_before_stated_ones() -> None:
    environment = Environment(processor="p", cores=2, system="s", python="3", packages={})
    kernels = [
        KernelRate(kind="linear", precision="fp32", threads=threads, rows=rows, width=64, per_s=1e9 * threads * rows)
        for threads in (1, 2)
        for rows in (1, 8)
    ]  # fmt: skip
    rates = Rates(
        runtime="onnxruntime", kernels=tuple(kernels), copies=(CopyRate(threads=2, bytes_per_s=5e9),), call_s=1e-5,
        node_s=1e-6, environment=environment, date="2026-01-01",
    )  # fmt: skip
    unit = Unit(kind="cpu", cores=2, sources={"cores": "this machine"}, rates=rates)
    assert (unit.peak("fp32"), unit.peak("fp32", 1), unit.peak("int8")) == (16e9, 8e9, None)
    assert (rates.copy_bandwidth(2), rates.copy_bandwidth(1)) == (5e9, None)


def test_a_precision_that_is_not_executed_is_refused_with_those_that_are() -> None:
    target = load_target("jetson-agx-orin")
    target.check_executes("npu", "int8")
    with pytest.raises(
        UnsupportedError,
        match=r"does not execute fp32; it executes fp16, int8\. fp32 is executed by: cpu, gpu",
    ):
        target.check_executes("npu", "fp32")
    with pytest.raises(RecipeError, match="Did you mean 'int8'"):
        target.check_executes("npu", "in8")
    with pytest.raises(UnsupportedError, match=r"does not say which.*edgesmith targets calibrate"):
        load_target(HOST).check_executes("cpu", "int8")


def test_an_unknown_unit_gets_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"'jetson-agx-orin': unknown unit 'gpus'\. Did you mean 'gpu'"):
        load_target("jetson-agx-orin").unit("gpus")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"memory": "DDR4"}, r"figures \['memory'\], sources \[\]"),
        ({"sources": {"memory": "a brief"}}, r"figures \[\], sources \['memory'\]"),
        ({"power_max_w": 0.0, "sources": {"power_max_w": "a brief"}}, "power_max_w is 0.0"),
        ({"power_min_w": 9.0, "power_max_w": 7.0, "sources": {"power_min_w": "a", "power_max_w": "b"}}, "at most"),
        ({"runtimes": ("onnxruntim",)}, "Did you mean 'onnxruntime'"),
        ({"units": {}}, "units is empty"),
        ({"unknown": {"memori": "?"}}, "Did you mean 'memory'"),
        ({"memory": "DDR4", "sources": {"memory": "a"}, "unknown": {"memory": "?"}}, "stated and called unknown"),
        ({"units": {"cpu": Unit(kind="cpu", cores=4)}}, r"unit 'cpu': every figure.*figures \['cores'\]"),
        ({"units": {"cpu": Unit(kind="cpu", cores=0, sources={"cores": "a"})}}, "cores is 0"),
        (
            {"units": {"npu": Unit(kind="npu", macs_per_s={"int8": 1.0}, sources={"macs_per_s": "a"})}},
            "a rate is stated for int8, which precisions does not list",
        ),
        (
            {"units": {"npu": Unit(kind="npu", macs_per_s={"int9": 1.0}, sources={"macs_per_s": "a"})}},
            "Did you mean 'int8'",
        ),
        (
            {"units": {"npu": Unit(kind="npu", runtimes=("qn",), sources={"runtimes": "a"})}},
            "Did you mean 'qnn'",
        ),
    ],
)  # fmt: skip
def test_a_profile_without_sense_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        board(**changes)
