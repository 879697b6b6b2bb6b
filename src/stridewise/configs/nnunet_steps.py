"""The steps of an nnU-Net: by its published rule, by the rule beside it, and changed in its plans file."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stridewise.configs.nnunet import SMALLEST_MAP, Network, Steps, check, parted, read_network
from stridewise.errors import UsageError, by


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
    check(f"{file}: {name}", after)
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
