"""Every figure of a profile has a source; what is not known is absent."""

from __future__ import annotations

import pytest

from edgesmith.errors import RecipeError
from edgesmith.targets import Target, load_target, target_names


@pytest.mark.parametrize("name", target_names())
def test_every_profile_loads_and_every_figure_has_a_source(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert set(target.sources) == set(target.figures())
    assert all(source.strip() for source in target.sources.values())
    assert target.runtimes


def test_the_host_is_measured_so_its_profile_states_no_figure() -> None:
    assert target_names()[0] == "host"
    assert load_target("host").is_host
    assert load_target("host").figures() == {}
    assert [name for name in target_names() if load_target(name).is_host] == ["host"]


def test_raspberry_pi_5_is_what_its_product_brief_says() -> None:
    target = load_target("raspberry-pi-5")
    assert (target.cores, target.clock_hz, target.memory) == (4, 2_400_000_000, "LPDDR4X-4267")
    assert target.memory_bytes is None  # sold with several sizes


def test_jetson_xavier_nx_is_what_its_data_sheet_says() -> None:
    target = load_target("jetson-xavier-nx")
    assert (target.cores, target.clock_hz, target.memory) == (6, 1_900_000_000, "LPDDR4X-3200")
    assert target.features is None  # the data sheet names Armv8.2 alone


def test_an_unknown_name_gets_the_nearest_and_all() -> None:
    with pytest.raises(
        RecipeError, match=r"Did you mean 'raspberry-pi-5'.*generic-x86, host, .*raspberry-pi-4, "
    ):
        load_target("rasberry-pi-5")


@pytest.mark.parametrize(
    ("figures", "text"),
    [
        ({"cores": 4}, r"figures \['cores'\], sources \[\]"),
        ({"sources": {"cores": "a brief"}}, r"figures \[\], sources \['cores'\]"),
        ({"cores": 0, "sources": {"cores": "a brief"}}, "cores is 0"),
        ({"runtimes": ("onnxruntim",)}, "Did you mean 'onnxruntime'"),
    ],
)
def test_a_profile_without_sense_is_refused(figures: dict[str, object], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Target(**{"name": "board", "description": "a board", "runtimes": (), **figures})
