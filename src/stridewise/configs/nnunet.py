"""nnU-Net's `plans.json`: the U-Net that a configuration describes, its published rule for strides, and edits of it.

Both forms are read: keys of their own (`pool_op_kernel_sizes`, `UNet_base_num_features`, until nnU-Net 2.4) and
`architecture.arch_kwargs`.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stridewise.configs.declared import Declared, at, chained, levels
from stridewise.configs.reading import Config, Value, read_config
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
    _check(where, found)
    return found


def _check(where: str, found: Network) -> None:
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


# -- the rule ------------------------------------------------------------------------------------------------------


def published(patch: Sequence[int], spacing: Sequence[float]) -> tuple[Steps, Steps, tuple[int, ...]]:
    """(steps, kernels, patch) by nnU-Net's rule: each stage halves the axes that keep 4 positions and whose spacing is
    below twice the finest among these; one axis alone only while it has 12. The patch is enlarged to a multiple.

    Source: Isensee et al. 2021, online methods and supplementary note 2; `get_pool_and_conv_props` in
    nnunetv2/experiment_planning/experiment_planners/network_topology.py.

    >>> steps, kernels, patch = published((20, 320, 256), (3.6, 0.625, 0.625))  # the paper's Prostate
    >>> steps
    ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    >>> kernels[:3], patch
    (((1, 3, 3), (1, 3, 3), (3, 3, 3)), (20, 320, 256))
    """
    sizes, units = [float(n) for n in patch], list(spacing)
    kernel = [1] * len(sizes)
    steps, kernels = [(1,) * len(sizes)], []
    while True:
        able = [a for a, n in enumerate(sizes) if n >= 2 * SMALLEST_MAP]
        finest = min((units[a] for a in able), default=0.0)
        halved = [a for a in able if units[a] / finest < 2]
        if not halved or (len(halved) == 1 and sizes[halved[0]] < 3 * SMALLEST_MAP):
            break
        kernel = [3 if k == 3 or u / min(units) < 2 else 1 for k, u in zip(kernel, units, strict=True)]
        kernels.append(tuple(kernel))
        steps.append(tuple(2 if a in halved else 1 for a in range(len(sizes))))
        units = [u * s for u, s in zip(units, steps[-1], strict=True)]
        sizes = [math.ceil(n / s) for n, s in zip(sizes, steps[-1], strict=True)]
    kernels.append((3,) * len(sizes))
    total = [math.prod(each) for each in zip(*steps, strict=True)]
    return tuple(steps), tuple(kernels), tuple(-(-n // t) * t for n, t in zip(patch, total, strict=True))


def even(patch: Sequence[int], spacing: Sequence[float]) -> tuple[Steps, Steps]:
    """(steps, kernels) by the rule beside it: each stage halves the axes that divide evenly, keep 4 positions, and are
    nearer to the finest spacing than to twice it (below 1.41 times), so that the patch stays and voxels become cubes.

    >>> even((20, 320, 256), (3.6, 0.625, 0.625))[0]
    ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))
    """
    sizes, units = list(patch), list(spacing)
    steps, kernels = [(1,) * len(sizes)], []
    while True:
        able = [a for a, n in enumerate(sizes) if n >= 2 * SMALLEST_MAP and n % 2 == 0]
        finest = min((units[a] for a in able), default=0.0)
        halved = [a for a in able if units[a] / finest < math.sqrt(2)]
        if not halved:
            break
        kernels.append(tuple(3 if u / min(units) < 2 else 1 for u in units))
        steps.append(tuple(2 if a in halved else 1 for a in range(len(sizes))))
        units = [u * s for u, s in zip(units, steps[-1], strict=True)]
        sizes = [n // s for n, s in zip(sizes, steps[-1], strict=True)]
    kernels.append((3,) * len(sizes))
    return tuple(steps), tuple(kernels)


def with_steps(found: Network, steps: Steps, kernels: Steps, patch: Sequence[int]) -> Network:
    """The network at other steps: channels double up to the most it has, blocks go on as they were."""
    count = len(steps)
    most = max(found.features)
    return replace(
        found,
        strides=steps,
        kernels=kernels,
        patch=tuple(patch),
        features=tuple(min(found.features[0] * 2**i, most) for i in range(count)),
        blocks=_continued(found.blocks, count),
        decoder=_continued(found.decoder, count - 1),
    )


def _continued(entries: Sequence[Any], count: int) -> tuple[Any, ...]:
    """So many entries, the last one again where there are too few."""
    return (*entries[:count], *[entries[-1]] * (count - len(entries)))


# -- edits ---------------------------------------------------------------------------------------------------------

_CHANGE = re.compile(r"(?:stage|encoder\.stages\.)(\d+)((?:\.[\w.]*)?)|kernel(\d+)|(stages)")
_FORMS = "stage2=1x2x2 (its step), kernel2=1x3x3 or stages=5 (how many)"


def edited(path: str, changes: Mapping[str, str]) -> tuple[str, list[str], Network]:
    """(the plans file's new text, a line a change, the network under it); nothing is written.

    Raises: UsageError in one line for a change that is none, or that the network would not close under.
    """
    file, named = parted(path)
    before = read_network(path)
    name = named or before.name
    after, lines = before, []
    for key, text in changes.items():
        after, line = _changed(after, key, text)
        lines.append(f"{name}: {line}")
    _check(f"{file}: {name}", after)
    whole = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    holder = _holder(file, whole["configurations"], name)
    _write(holder, after)
    return json.dumps(whole, indent=4) + "\n", lines, after


def _holder(file: str, configurations: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration that holds the network, a copy where it only inherits one."""
    own: dict[str, Any] = configurations[name]
    parent = own.get("inherits_from")
    if "architecture" in own or "pool_op_kernel_sizes" in own:
        return own
    inherited = _holder(file, configurations, str(parent))
    keys = ("architecture", "pool_op_kernel_sizes", "conv_kernel_sizes", "n_conv_per_stage_encoder")
    more = ("n_conv_per_stage_decoder", "num_pool_per_axis", "UNet_base_num_features", "unet_max_num_features")
    own.update({key: copy.deepcopy(inherited[key]) for key in (*keys, *more) if key in inherited})
    return own


def _changed(found: Network, key: str, text: str) -> tuple[Network, str]:
    """The network under one change, and the change in words."""
    match = _CHANGE.fullmatch(key)
    axes, count = len(found.patch), len(found.strides)
    if match is None:
        raise UsageError(f"{key}={text}: of a plans file may change {_FORMS}")
    if not re.fullmatch(r"\d{1,4}(x\d{1,4})*", text):
        raise UsageError(f"{key}={text}: plans hold steps alone, so whole numbers are wanted: {_FORMS}")
    values = tuple(int(n) for n in text.split("x"))
    if match[4]:
        if len(values) != 1 or not 2 <= values[0] <= 16:
            raise UsageError(f"{key}={text}: one number from 2 to 16 is wanted")
        steps = _continued(found.strides, values[0]) if values[0] <= count else found.strides
        while len(steps) < values[0]:
            steps = (*steps, (2,) * axes)
        kernels = (*found.kernels[: values[0]], *[(3,) * axes] * (values[0] - count))
        return with_steps(found, steps, kernels, found.patch), f"{values[0]} stages (were {count})"
    at = int(match[1] or match[3])
    if at >= count:
        raise UsageError(f"{key}={text}: there are stages 0 to {count - 1}; stages={at + 1} makes more")
    each = values * axes if len(values) == 1 else values
    if len(each) != axes or min(each) < 1:
        raise UsageError(f"{key}={text}: {axes} numbers from 1 are wanted, one an axis")
    if match[3]:
        kernels = (*found.kernels[:at], each, *found.kernels[at + 1 :])
        return replace(found, kernels=kernels), f"stage {at} kernel {by(each)} (was {by(found.kernels[at])})"
    if at == 0 and max(each) > 1:
        raise UsageError(f"{key}={text}: nothing brings a step of stage 0 back, and the labels have the patch's size")
    strides = (*found.strides[:at], each, *found.strides[at + 1 :])
    return replace(found, strides=strides), f"stage {at} step {by(each)} (was {by(found.strides[at])})"


def _write(holder: dict[str, Any], found: Network) -> None:
    """Put a network into its configuration, in the form it has."""
    strides, kernels = [list(s) for s in found.strides], [list(k) for k in found.kernels]
    if isinstance(holder.get("architecture"), dict):
        own = holder["architecture"]["arch_kwargs"]
        blocks = "n_blocks_per_stage" if "n_blocks_per_stage" in own else "n_conv_per_stage"
        own.update(
            {"strides": strides, "kernel_sizes": kernels, "n_stages": len(strides), blocks: list(found.blocks)}
            | {"features_per_stage": list(found.features), "n_conv_per_stage_decoder": list(found.decoder)}
        )
        return
    holder.update({"pool_op_kernel_sizes": strides, "conv_kernel_sizes": kernels})
    holder.update({"n_conv_per_stage_encoder": list(found.blocks), "n_conv_per_stage_decoder": list(found.decoder)})
    if "num_pool_per_axis" in holder:
        halvings = [sum(s[a] > 1 for s in found.strides) for a in range(len(found.patch))]
        holder["num_pool_per_axis"] = halvings
