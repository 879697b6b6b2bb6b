"""nnU-Net's `plans.json`: the U-Net that a configuration describes.

Both forms are read: keys of their own (`pool_op_kernel_sizes`, `UNet_base_num_features`, until nnU-Net 2.4) and
`architecture.arch_kwargs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stridewise.configs.reading import read_config
from stridewise.configs.values import Config, Declared, Value, at, chained, levels
from stridewise.errors import UsageError, by

SMALLEST_MAP = 4  # positions an axis keeps. Source: UNet_featuremap_min_edge_length in nnU-Net's planner
_ORDER = ("3d_fullres", "3d_cascade_fullres", "2d", "3d_lowres")
_CLASSES = ("PlainConvUNet", "ResidualEncoderUNet")
Steps = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What a configuration describes: per stage steps, kernels (an entry an axis), channels and blocks; blocks of the
    decoder from the coarsest stage on; patch in voxels and spacing in mm, an entry an axis.

    known: of the classes, whether a dataset.json beside the plans says them.
    """

    name: str
    residual: bool
    strides: Steps
    kernels: Steps
    features: tuple[int, ...]
    blocks: tuple[int, ...]
    decoder: tuple[int, ...]
    channels: int
    classes: int
    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    bias: bool = True
    known: bool = True

    @property
    def divisor(self) -> tuple[int, ...]:
        """What each axis of a patch must be a multiple of."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True))

    def to_json(self) -> dict[str, Any]:
        """What the plans write of it."""
        return {
            "configuration": self.name,
            "patch": list(self.patch),
            "strides": [list(s) for s in self.strides],
            "kernels": [list(k) for k in self.kernels],
            "features": list(self.features),
        }


def parted(path: str) -> tuple[str, str]:
    """(the file, the configuration) of `plans.json:2d`; "" where none is named."""
    file, colon, name = path.rpartition(":")
    return (file, name) if colon and file.endswith(".json") else (path, "")


def is_plans(config: Config) -> bool:
    """Whether a config is a plans file."""
    found = config.root.get("configurations")
    return found is not None and isinstance(found.content, Mapping)


def read_network(path: str) -> Network:
    """The network of `plans.json` or `plans.json:CONFIGURATION`, the one of full resolution where none is named.

    Raises: UsageError in one line.
    """
    file, name = parted(path)
    config = read_config(file)
    if not is_plans(config):
        raise UsageError(f"{file}: has no configurations, so it is no plans file of nnU-Net")
    return network_of(config, name or _default(config))


def _default(config: Config) -> str:
    found = list(config.root.plain()["configurations"])
    return next((name for name in (*_ORDER, *found) if name in found), "")


def _chosen(config: Config, name: str) -> dict[str, Value]:
    """A configuration with those that it inherits from below it."""
    found = config.root.get("configurations")
    assert found is not None
    content: dict[str, Value] = {}
    seen: list[str] = []
    while name or not seen:
        one = found.content.get(name)
        if one is None or not isinstance(one.content, Mapping) or name in seen:
            known = ", ".join(found.content) or "none"
            raise UsageError(f"{config.path}: no configuration '{name}'; there are {known}")
        seen.append(name)
        content = {**one.content, **content}
        parent = one.content.get("inherits_from")
        name = str(parent.content) if parent is not None else ""
    return content


def network_of(config: Config, name: str) -> Network:
    """The network of one configuration. Raises: UsageError naming the key that is missing or wrong."""
    where = f"{config.path}: {name}"
    facts = {key: value.plain() for key, value in _chosen(config, name).items()}
    architecture = facts.get("architecture")
    if isinstance(architecture, Mapping):
        kind = str(architecture.get("network_class_name", "")).rpartition(".")[2]
        own = architecture.get("arch_kwargs")
        if not isinstance(own, Mapping):
            raise UsageError(f"{where}: architecture has no arch_kwargs")
        keys = ("strides", "kernel_sizes", "n_blocks_per_stage" if "n_blocks_per_stage" in own else "n_conv_per_stage")
        strides, kernels, blocks = (own.get(key) for key in keys)
        features, bias = own.get("features_per_stage"), bool(own.get("conv_bias", True))
        decoder = own.get("n_conv_per_stage_decoder")
    else:
        kind, bias = str(facts.get("UNet_class_name", "PlainConvUNet")), True
        strides, kernels = facts.get("pool_op_kernel_sizes"), facts.get("conv_kernel_sizes")
        blocks, decoder = facts.get("n_conv_per_stage_encoder"), facts.get("n_conv_per_stage_decoder")
        base, most = facts.get("UNet_base_num_features"), facts.get("unet_max_num_features")
        count = len(strides) if isinstance(strides, list) else 0
        whole = _whole(f"{where}: features", [base, most])
        features = [min(whole[0] * 2**i, whole[1]) for i in range(min(count, 64))]
    if kind not in _CLASSES:
        raise UsageError(f"{where}: the network is a {kind or 'class without a name'}; drawn are {', '.join(_CLASSES)}")
    patch = _whole(f"{where}: patch_size", facts.get("patch_size"))
    axes = len(patch)
    steps = tuple(_entry(f"{where}: strides", s, axes) for s in _listed(f"{where}: strides", strides))
    stages = len(steps)
    if not 1 <= axes <= 3 or not 2 <= stages <= 16:
        raise UsageError(f"{where}: {stages} stages on {axes} axes: 2 to 16 on 1 to 3 are drawn")
    sizes = [_entry(f"{where}: kernels", k, axes) for k in _each(f"{where}: kernels", kernels, stages)]
    inputs, classes, known = _ends(config, facts)
    found = Network(
        name=name,
        residual=kind == "ResidualEncoderUNet",
        strides=steps,
        kernels=tuple(sizes),
        features=tuple(_whole(f"{where}: features", _each(f"{where}: features", features, stages))),
        blocks=tuple(_whole(f"{where}: blocks", _each(f"{where}: blocks a stage", blocks, stages))),
        decoder=tuple(_whole(f"{where}: blocks", _each(f"{where}: blocks of the decoder", decoder, stages - 1))),
        channels=inputs + (classes - 1 if facts.get("previous_stage") else 0),
        classes=classes,
        patch=tuple(patch),
        spacing=tuple(_spacing(f"{where}: spacing", facts.get("spacing"), axes)),
        bias=bias,
        known=known,
    )
    check(where, found)
    return found


def check(where: str, found: Network) -> None:
    """Raises: UsageError for a network that its own decoder does not close."""
    if max((*found.features, *found.blocks, *found.decoder)) > 1 << 14 or max(map(max, found.strides)) > 64:
        raise UsageError(f"{where}: channels, blocks or steps are beyond what a network has")
    if any(k % 2 == 0 for kernel in found.kernels for k in kernel):
        raise UsageError(f"{where}: a kernel is even, and its padding would not keep the size: make it odd")
    wrong = [a for a, (size, unit) in enumerate(zip(found.patch, found.divisor, strict=True)) if size % unit]
    if wrong:
        near = tuple(-(-n // u) * u for n, u in zip(found.patch, found.divisor, strict=True))
        raise UsageError(
            f"{where}: patch {by(found.patch)} is no multiple of {by(found.divisor)}, which its steps come to: the "
            f"decoder's maps would not meet the encoder's; {by(near)} is"
        )


def _ends(config: Config, facts: Mapping[str, Any]) -> tuple[int, int, bool]:
    """(channels, classes, whether they are known): of dataset.json beside the plans, else of the plans."""
    beside = Path(config.path).parent / "dataset.json"
    inputs = len(facts.get("normalization_schemes") or [1])
    if not beside.is_file():
        return inputs, 2, False
    data = read_config(str(beside)).root.plain()
    named = data.get("channel_names", data.get("modality"))
    labels = data.get("labels")
    regions = data.get("regions_class_order")
    classes = len(regions) if isinstance(regions, list) else len([k for k in labels or {} if k != "ignore"])
    return len(named) if isinstance(named, Mapping) and named else inputs, max(classes, 1), bool(labels)


def _listed(where: str, found: Any) -> list[Any]:
    if not isinstance(found, list) or not found:
        raise UsageError(f"{where}: a list with an entry a stage is wanted, not {_short(found)}")
    return found


def _each(where: str, found: Any, count: int) -> list[Any]:
    """An entry a stage; one number stands for all."""
    entries = [found] * count if isinstance(found, int) else _listed(where, found)
    if len(entries) != count:
        raise UsageError(f"{where}: {len(entries)} entries for {count} stages")
    return entries


def _entry(where: str, found: Any, axes: int) -> tuple[int, ...]:
    """An entry an axis."""
    entries = _whole(where, [found] * axes if isinstance(found, int) else found)
    if len(entries) != axes:
        raise UsageError(f"{where}: {_short(found)} has {len(entries)} entries for {axes} axes")
    return tuple(entries)


def _whole(where: str, found: Any) -> list[int]:
    if isinstance(found, list) and found and all(isinstance(n, int | float) and n == int(n) and n > 0 for n in found):
        return [int(n) for n in found]
    raise UsageError(f"{where}: whole numbers from 1 are wanted, not {_short(found)}")


def _spacing(where: str, found: Any, axes: int) -> list[float]:
    if found is None:
        return [1.0] * axes
    if isinstance(found, list) and len(found) == axes and all(isinstance(n, int | float) and n > 0 for n in found):
        return [float(n) for n in found]
    raise UsageError(f"{where}: {axes} numbers above 0 are wanted, not {_short(found)}")


def _short(found: Any) -> str:
    text = "nothing" if found is None else repr(found)
    return text if len(text) < 40 else f"{text[:40]}..."


def declared(config: Config, name: str) -> tuple[Declared, ...]:
    """The cumulative strides of a configuration's stages, at the line of its steps."""
    every = [name] if name else [_default(config)]
    out = []
    for one in every:
        facts = _chosen(config, one)
        network = network_of(config, one)
        old = facts.get("pool_op_kernel_sizes")
        new = facts["architecture"].get("arch_kwargs", "strides") if "architecture" in facts else None
        value = new or old
        assert value is not None
        key = "architecture.arch_kwargs.strides" if new is not None else "pool_op_kernel_sizes"
        entries = dict.fromkeys(chained(1, [tuple(map(_fraction, s)) for s in network.strides]))
        out.append(at(value, ("configurations", one, key), "maps", list(entries), "the steps of its stages"))
    return tuple(out)


def _fraction(step: int) -> Any:
    return levels([step])[0][0]
