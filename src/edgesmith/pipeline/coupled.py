"""What of a model hangs together, and what each part of it costs: `edgesmith prune --show-groups`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig

from edgesmith.analyze.cost import macs, parameters
from edgesmith.models.coupling import (
    Prunable,
    Shape,
    check_is_prunable,
    empty_prunable,
    hidden_axes,
    own_names,
    prunable_shape,
    sites,
    with_hidden,
    with_layers,
    with_units,
)
from edgesmith.models.load import load_config
from edgesmith.models.site import Site
from edgesmith.models.zoo import zoo_config
from edgesmith.records import ZOO, CoupledGroup, CoupledModel, EncoderShape, is_zoo_name

TOKENS = 128
"""Length of the text that MACs are counted for, where there are no data to tell."""


def coupled_groups(model: str, *, tokens: int | None = None) -> CoupledModel:
    """The coupled groups of a model, from its config alone.

    Args:
        model: local folder, hub id, or a name of the zoo.
        tokens: length of the input that MACs are counted for; None for 128, or an image's own.

    Raises:
        ModelError: no config there.
        UnsupportedError: a family that is not known.
    """
    config = zoo_config(ZOO[model]) if is_zoo_name(model) else load_config(model)
    check_is_prunable(config)
    empty, shape = empty_prunable(config), prunable_shape(config)
    length = tokens or (shape.positions if isinstance(shape, EncoderShape) and shape.patches else TOKENS)
    return CoupledModel(
        model=model,
        model_type=config.model_type,
        tokens=length,
        parameters=parameters(shape),
        macs=macs(shape, length),
        groups=tuple(_groups(config, empty, shape, length)),
    )


def unit_cost(shape: Shape, places: list[Site], site: Site, tokens: int) -> tuple[int, int]:
    """(parameters, MACs) that go with one unit of a site."""
    counts = [place.units - (place is site) for place in places]
    return _difference(shape, with_units(shape, places, counts), tokens)


def _groups(config: PreTrainedConfig, model: Prunable, shape: Shape, tokens: int) -> Iterator[CoupledGroup]:
    places = sites(model)
    for site in places:
        one, work = unit_cost(shape, places, site, tokens)
        yield CoupledGroup(
            kind=site.kind,
            layer=site.layer,
            units=site.units,
            parameters=one,
            macs=work,
            slices=tuple(_site_slices(config, model, site)),
        )
    depth = places[-1].layer + 1
    for layer in range(depth):
        one, work = _difference(
            shape, with_layers(shape, [other for other in range(depth) if other != layer]), tokens
        )
        yield CoupledGroup(
            kind="layers",
            layer=layer,
            units=1,
            parameters=one,
            macs=work,
            slices=("all weights of the layer",),
        )
    one, work = _difference(shape, with_hidden(shape, 1), tokens)
    yield CoupledGroup(
        kind="hidden",
        layer=None,
        units=shape.hidden,
        parameters=round(one / (shape.hidden - 1)),
        macs=round(work / (shape.hidden - 1)),
        slices=tuple(_stream_slices(config, model)),
    )


def _difference(shape: Shape, smaller: Shape, tokens: int) -> tuple[int, int]:
    return parameters(shape) - parameters(smaller), macs(shape, tokens) - macs(smaller, tokens)


def _site_slices(config: PreTrainedConfig, model: Prunable, site: Site) -> Iterator[str]:
    some = "row" if site.width == 1 else f"{site.width} rows"
    for maker in site.makers:
        names = own_names(config, maker)
        linear: Any = model.get_submodule(maker)
        blocks = linear.out_features // (site.units * site.width)
        rows = linear.out_features // (blocks if len(names) > 1 else 1)
        times = f" in each of {blocks} blocks" if blocks > len(names) else ""
        yield from (f"{name}: {some} of {rows}{times}" for name in names)
    (reader,) = own_names(config, site.reader)
    some = "column" if site.width == 1 else f"{site.width} columns"
    yield f"{reader}: {some} of {site.units * site.width}"


def _stream_slices(config: PreTrainedConfig, model: Prunable) -> Iterator[str]:
    """Each weight that holds a part of a hidden unit, once for all layers."""
    told: dict[str, str] = {}
    for name, along in hidden_axes(model).items():
        module, _, kind = name.rpartition(".")
        if kind == "bias":
            continue
        anywhere = ".".join("*" if part.isdigit() else part for part in module.split("."))
        what = " and ".join("row" if axis == 0 else "column" for axis in along)
        if "norm" in module.lower():
            what = "entry"
        told |= dict.fromkeys(own_names(config, anywhere), what)
    yield from (f"{name}: {what}" for name, what in told.items())
