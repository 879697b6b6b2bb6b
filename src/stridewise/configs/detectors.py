"""Strides in configs of detectors and segmentation networks: mmdetection, mmsegmentation, torchvision, detectron2,
ultralytics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from stridewise.configs.values import Config, Declared, Step, Value, at, below, chained, levels, numbers, steps

# What a backbone steps by before its stages, by the start of its type's name. Source: mmdet, mmseg and mmpretrain,
# `mm*/models/backbones`, their stems and patch embeddings.
_STEMS = (
    (r"(SE|Res2|Dilated)?Res(Ne|ne)|DetectoRS_Res|Trident|HRNet|SEResNe|ResNeSt", 4),
    (r"RegNet|MobileNetV2|EfficientNet", 2),
    (r"Swin|MixVision|PyramidVision|PVT|MiT|Twins|Beit|Vision|ConvNeXt|PoolFormer|MSCAN|PCPVT|SVT", 1),
)
_OUT = ("featmap_strides", "feature_strides", "fpn_strides", "FPN_STRIDES", "anchor_strides", "strides_per_level")
_HEADS = re.compile(
    r"head|anchor_generator|prior_generator|roi_extractor|point_generator|assigner|coder", re.IGNORECASE
)


def of_mm(config: Config) -> Iterator[Declared]:
    """mmdetection's and mmsegmentation's `strides=`, `featmap_strides=`, `dilations=`, and what is written alike:
    torchvision's `steps=` of SSD and sizes of anchors a level, `reduction` rows as timm's `feature_info` has them."""
    for path, value in config.root.walk():
        if not path:
            continue
        key, parent = path[-1], _holder(config, path)
        found = steps(value)
        kind = str(_type(parent))
        if key in _OUT and found:
            yield at(value, path, "outputs", found)
        elif key in ("output_stride", "OUTPUT_STRIDE") and found:
            yield at(value, path, "maps", found)
        elif key == "strides" and found and any(_HEADS.search(part) for part in (*path[:-1], kind)):
            yield at(value, path, "outputs", found)
        elif key == "strides" and found and _is_backbone(path, kind):
            yield from _stages(path, value, parent, kind, found)
        elif key in ("dilations", "dilation", "ASPP_DILATIONS", "atrous_rates") and (rates := numbers(value)):
            if max(rates) > 1:
                yield at(value, path, "dilations", levels(n for n in rates if n > 1))
        elif key == "steps" and kind.endswith("DefaultBoxGenerator") and found:
            yield at(value, path, "outputs", found)
        elif key == "sizes" and kind.endswith("AnchorGenerator") and isinstance(value.content, list):
            if value.content and all(isinstance(entry.content, list) for entry in value.content):
                yield at(value, path, "levels", levels([1] * len(value.content)))
        elif key == "scales" and kind.endswith("ROIPooler") and isinstance(value.content, list):
            scales = [s for s in value.plain() if isinstance(s, int | float) and 0 < s <= 1]
            yield at(value, path, "maps", levels(round(1 / s) for s in scales), "one over its scales")
        elif key == "feature_info" and isinstance(value.content, list):
            rows = [(row, steps(row.get("reduction"))) for row in value.content]
            yield from (at(row, (*path, str(n)), "maps", r) for n, (row, r) in enumerate(rows) if r)


def _holder(config: Config, path: Sequence[str]) -> Value | None:
    """The mapping in which a key stands, or the list that its mapping is an entry of."""
    found: Value | None = config.root
    for key in path[:-1]:
        if found is None:
            return None
        found = found.content[int(key)] if isinstance(found.content, list) else found.get(key)
    return found


def _type(holder: Value | None) -> str:
    """What class a mapping says it is of."""
    named = holder.get("type") if holder is not None else None
    return named.content if named is not None and isinstance(named.content, str) else ""


def _is_backbone(path: Sequence[str], kind: str) -> bool:
    return "backbone" in path or "bottom_up" in path or any(re.match(p, kind.split(".")[-1]) for p, _ in _STEMS)


def _stages(
    path: Sequence[str], value: Value, holder: Value | None, kind: str, found: Sequence[Step]
) -> Iterator[Declared]:
    """Steps of a backbone's stages as cumulative strides: behind its stem, or its patch embedding."""
    name = kind.split(".")[-1]
    stem = next((n for pattern, n in _STEMS if re.match(pattern, name)), None)
    if stem is None or any(len(step) > 1 for step in found):
        return  # a backbone whose stem is not known: nothing is guessed
    used = holder.get("out_indices") if holder is not None else None
    every = chained(stem, found)
    chosen = numbers_from_zero(used)
    kept = [every[i] for i in chosen if i < len(every)] if chosen else list(every)
    about = f"steps {', '.join(str(s[0]) for s in found)} behind a stem of {stem}"
    yield at(value, path, "maps", kept, about)


def numbers_from_zero(value: Value | None) -> list[int]:
    """A list of indices from 0."""
    found = value.plain() if value is not None else []
    return found if isinstance(found, list) and all(isinstance(n, int) and n >= 0 for n in found) else []


# -- detectron2 ------------------------------------------------------------------------------------------------------

_FEATURES = re.compile(r"(?:res|p|layer|stage)(\d)")


def of_detectron(config: Config) -> Iterator[Declared]:
    """detectron2's YAML: maps named by their level ("res4" steps by 16, "p6" by 64), dilations, common strides."""
    model = config.root.get("MODEL")
    if model is None:
        return
    res5 = numbers(model.get("RESNETS", "RES5_DILATION")) or [1]
    res4 = numbers(model.get("RESNETS", "RES4_DILATION")) or [1]
    held = {"res5": 5 - (res5[0] > 1) - (res4[0] > 1), "res4": 4 - (res4[0] > 1)}
    for path, value in below(config, "IN_FEATURES", "OUT_FEATURES", "PROJECT_FEATURES"):
        names = value.plain()
        if path[0] != "MODEL" or not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            continue
        found = [_FEATURES.fullmatch(name) for name in names]
        if all(found) and names:
            exponents = [held.get(m[0], int(m[1])) for m in found if m]
            what = "outputs" if all(n.startswith("p") for n in names) else "maps"
            yield at(value, path, what, levels(2**e for e in exponents), f"maps {', '.join(names)}")  # type: ignore[arg-type]
    for path, value in below(config, "RES5_DILATION", "RES4_DILATION", "ASPP_DILATIONS"):
        rates = [n for n in numbers(value) or [] if n > 1]
        if rates:
            yield at(value, path, "dilations", levels(rates))
    for path, value in below(config, "SIZES"):
        if path[-2:-1] == ("ANCHOR_GENERATOR",) and isinstance(value.content, list) and len(value.content) > 1:
            yield at(value, path, "levels", levels([1] * len(value.content)))
    for path, value in below(config, "COMMON_STRIDE", "FPN_STRIDES", "OUTPUT_STRIDE", "STRIDES", "ANCHOR_STRIDES"):
        entries = steps(value)
        if entries:
            yield at(value, path, "outputs" if len(entries) > 1 else "maps", entries)


# -- ultralytics -----------------------------------------------------------------------------------------------------

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
_TAKERS = ("Detect", "Segment", "Pose", "OBB", "RTDETRDecoder", "WorldDetect", "v10Detect", "YOLOEDetect",
          "YOLOESegment", "Segment26", "Pose26", "OBB26")  # fmt: skip


def of_ultralytics(config: Config) -> Iterator[Declared]:
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
        step = None if module in _TAKERS else _step(str(module), arguments)
        last = row is rows[-1] and step is None  # a head of another name: what it reads is a map at least
        if module in _TAKERS or last:
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
