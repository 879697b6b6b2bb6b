"""Strides in configs of detectors and segmentation networks: mmdetection, mmsegmentation, torchvision, detectron2."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stridewise.configs.declared import Declared, Step, at, below, chained, levels, numbers, steps
from stridewise.configs.reading import Config, Value

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
