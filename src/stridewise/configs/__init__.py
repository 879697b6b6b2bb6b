"""What the configs of other projects declare about strides: the families, asked one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stridewise.configs import detectors, nnunet, transformers
from stridewise.configs.reading import read_config
from stridewise.configs.values import Config, Declared
from stridewise.errors import UsageError


def read_declared(path: str) -> tuple[Declared, ...]:
    """What a config file declares; `plans.json:2d` names one of its configurations.

    Raises: UsageError in one line for a file that is no config, or declares nothing that is known.
    """
    file, configuration = nnunet.parted(path)
    config = read_config(file)
    if nnunet.is_plans(config):
        return nnunet.declared(config, configuration)
    families: tuple[Callable[[Config], Iterable[Declared]], ...] = (
        detectors.of_ultralytics,
        transformers.declared,
        detectors.of_detectron,
        detectors.of_mm,
    )
    for family in families:
        found = tuple(dict.fromkeys(family(config)))
        if found:
            return found
    lost = f"; it is based on {', '.join(config.missing)}, which is not there" if config.missing else ""
    raise UsageError(
        f"{path}: declares no stride that is known (strides, featmap_strides, dilations, patch_size, conv_stride, "
        f"FPN.IN_FEATURES, rows of layers, ...){lost}"
    )
