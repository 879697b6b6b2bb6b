"""Strides in a model file of ultralytics: rows [from, repeats, module, arguments] under `backbone` and `head`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from stridewise.configs.declared import Declared, at, levels
from stridewise.configs.reading import Config, Value

# Where a module's step stands among its arguments (channels first), and what it is where nothing is written.
# Source: ultralytics/nn/modules, and `parse_model` in ultralytics/nn/tasks.py, which puts the input channels first.
_STEP_AT = {"Conv": 2, "ConvTranspose": 2, "DWConv": 2, "GhostConv": 2, "SCDown": 2, "Conv2": 2,
            "DSConv": 2, "GhostBottleneck": 2, "RepConv": 2, "nn.Conv2d": 2, "nn.ConvTranspose2d": 2,
            "DWConvTranspose2d": 2, "nn.MaxPool2d": 1, "nn.AvgPool2d": 1}  # fmt: skip
_FIXED = {"Focus": 2, "AConv": 2, "ADown": 2, "HGStem": 4, "Contract": 2}
_SAME = frozenset(
    "C1 C2 C2f C2fAttn C2fCIB C2fPSA C2PSA C3 C3Ghost C3TR C3k C3k2 C3x A2C2f AIFI SPP SPPF SPPELAN ELAN1 PSA RepC3 "
    "RepNCSPELAN4 RepCSP HGBlock Concat CBLinear CBFuse Bottleneck BottleneckCSP CrossConv nn.Identity nn.BatchNorm2d "
    "nn.ZeroPad2d CBAM ChannelAttention SpatialAttention ImagePoolingAttn LightConv nn.ReLU nn.SiLU nn.Dropout".split()
)
_HEADS = ("Detect", "Segment", "Pose", "OBB", "RTDETRDecoder", "WorldDetect", "v10Detect", "YOLOEDetect",
          "YOLOESegment", "Segment26", "Pose26", "OBB26")  # fmt: skip


def declared(config: Config) -> Iterator[Declared]:
    """The strides of the maps that the head takes, worked out row by row; none where a module is not known."""
    sections = [config.root.get(key) for key in ("backbone", "head")]
    rows = [
        row
        for section in sections
        if section is not None and isinstance(section.content, list)
        for row in section.content
    ]
    strides: list[Fraction | None] = []
    for row in rows:
        parts = row.plain()
        if not isinstance(parts, list) or len(parts) != 4 or not isinstance(parts[3], list):
            return
        before, _, module, arguments = parts
        sources = [_source(strides, n) for n in (before if isinstance(before, list) else [before])]
        step = None if module in _HEADS else _step(str(module), arguments)
        last = row is rows[-1] and step is None  # a head of another name: what it reads is a map at least
        if module in _HEADS or last:
            if sources and all(s is not None for s in sources):
                entries = levels(float(s) for s in sources if s is not None)
                name = (*_place(config, row), str(module))
                yield at(row, name, "maps" if last else "outputs", entries, "rows of layers")
            strides.append(None)
            continue
        strides.append(None if step is None or not sources or sources[0] is None else sources[0] * step)


def _source(strides: Sequence[Fraction | None], number: Any) -> Fraction | None:
    """The stride of the row that another takes; -1 is the one before it."""
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    at = len(strides) + number if number < 0 else number
    if at == -1:
        return Fraction(1)
    return strides[at] if 0 <= at < len(strides) else None


def _step(module: str, arguments: Sequence[Any]) -> Fraction | None:
    """What a row multiplies the stride by; None where its module is not known."""
    if module in _FIXED:
        return Fraction(_FIXED[module])
    if module == "ResNetLayer":  # [in, out, step, whether it is the stem, blocks]
        stem = len(arguments) > 3 and arguments[3] is True
        step = arguments[2] if len(arguments) > 2 else None
        return Fraction(4) if stem else Fraction(step) if isinstance(step, int) and step > 0 else None
    if module == "nn.Upsample":
        scale = arguments[1] if len(arguments) > 1 else None
        return 1 / Fraction(scale) if isinstance(scale, int | float) and scale > 0 else None
    if module in _STEP_AT:
        place = _STEP_AT[module]
        kernel = module.startswith(("nn.MaxPool", "nn.AvgPool"))
        default = arguments[0] if kernel and arguments else 2 if module.endswith("ConvTranspose") else 1
        step = arguments[place] if len(arguments) > place else default
        if not isinstance(step, int) or isinstance(step, bool) or step < 1:
            return None
        return Fraction(1, step) if "Transpose" in module else Fraction(step)
    return Fraction(1) if module in _SAME else None


def _place(config: Config, row: Value) -> tuple[str, ...]:
    head = config.root.get("head")
    return ("head",) if head is not None and any(entry is row for entry in head.content) else ("backbone",)
