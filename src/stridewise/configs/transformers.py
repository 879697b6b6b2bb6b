"""Strides in a transformers `config.json`, by the keys that its configuration classes document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

from stridewise.configs.values import Config, Declared, Step, Value, at, chained, levels, numbers, steps

Rule: TypeAlias = Callable[[Value, Mapping[str, Any]], tuple[tuple[Step, ...], str] | None]
_PARTS = ("vision_config", "backbone_config", "encoder", "audio_encoder", "audio_config")

# Networks whose stages each merge 2x2 patches. Source: their modeling files in transformers.
_MERGING = frozenset("swin swinv2 swin2sr donut-swin dinat nat focalnet convnext convnextv2 maskformer-swin".split())
_PATCHED = frozenset(
    "vit deit beit dinov2 dinov2_with_registers dinov3_vit vit_mae vit_msn vit_hybrid clip clip_vision_model siglip "
    "siglip_vision_model siglip2 ijepa yolos dpt vitpose vitpose_backbone vitdet data2vec-vision videomae vivit "
    "timesformer chinese_clip altclip flava blip blip-2 owlvit owlv2 sam pixtral idefics2 vitmatte".split()
)


def declared(config: Config) -> Iterator[Declared]:
    """What the config, or one of the parts it is made of, says of its strides."""
    if config.root.get("model_type") is None:
        return
    for prefix in ((), *((part,) for part in _PARTS)):
        part = config.root.get(*prefix)
        if part is None or not isinstance(part.content, Mapping):
            continue
        facts = part.plain()
        for key, rule in _RULES.items():
            value = part.get(key)
            found = None if value is None else rule(value, facts)
            if value is not None and found is not None:
                yield at(value, (*prefix, key), "maps", found[0], found[1])


def _chain(value: Value, facts: Mapping[str, Any]) -> tuple[tuple[Step, ...], str] | None:
    """One step after the other: conv_stride of wav2vec2, strides of SegFormer and PVT, patch_stride of CvT."""
    found = steps(value)
    if not found or any(len(step) > 1 for step in found):
        return None
    if facts.get("model_type") == "hiera":  # an entry an axis, and a pool of queries behind
        each = [
            tuple(n for step in found for n in step),
            *[tuple(map(Fraction, facts.get("query_stride", (2, 2))))] * 3,
        ]
        return chained(1, each[: 1 + int(facts.get("num_query_pool", 3))]), "patches, and pooled queries behind them"
    stem = 2 if facts.get("model_type") == "efficientnet" else 1
    written = ", ".join(str(step[0]) for step in found)
    return _once(chained(stem, found)), f"steps {written} one after the other" + (f" behind {stem}" if stem > 1 else "")


def _backward(value: Value, facts: Mapping[str, Any]) -> tuple[tuple[Step, ...], str] | None:
    """Ratios of a decoder, which its encoder steps by in the other order."""
    found = numbers(value)
    if not found or facts.get("model_type") not in ("encodec", "mimi"):
        return None
    return _once(chained(1, found[::-1])), f"steps {', '.join(map(str, found[::-1]))} of the encoder"


def _patch(value: Value, facts: Mapping[str, Any]) -> tuple[tuple[Step, ...], str] | None:
    """The patch embedding's step, and the merging behind it where the network merges patches."""
    found = numbers(value)
    kind = str(facts.get("model_type", ""))
    if not found or (kind not in _PATCHED and kind not in _MERGING):
        return None
    tube = facts.get("tubelet_size")
    if kind in ("videomae", "vivit") and tube:
        found = tube if isinstance(tube, list) else [tube, *(found * 2)[:2]]
    if kind not in _MERGING:
        step = tuple(levels(found)[i][0] for i in range(len(found)))
        return ((step,), "patches")
    stages = len(facts.get("depths") or facts.get("hidden_sizes") or [1])
    about = f"patches, and {stages - 1} times 2 behind them"
    return tuple(chained(found[0], [1, *([2] * (stages - 1))])), about


def _tube(value: Value, facts: Mapping[str, Any]) -> tuple[tuple[Step, ...], str] | None:
    """Tubelets of a video transformer whose config writes no patch size beside them."""
    found = numbers(value)
    if not found or "patch_size" in facts or len(found) != 3:
        return None
    return (tuple(levels([n])[0][0] for n in found),), "patches"


def _first(value: Value, facts: Mapping[str, Any]) -> tuple[tuple[Step, ...], str] | None:
    """ResNet's and RegNet's stages: the stem, and 2 a stage, in the first of them too or not."""
    if not isinstance(value.content, bool) or facts.get("model_type") not in ("resnet", "regnet", "rt_detr_resnet"):
        return None
    stem = 2 if facts["model_type"] == "regnet" else 4
    stages = len(facts.get("depths") or [1, 1, 1, 1])
    first = 2 if value.content else 1
    return chained(stem, [first, *([2] * (stages - 1))]), f"{stages} stages behind a stem of {stem}"


def _single(value: Value, facts: Mapping[str, Any]) -> tuple[tuple[Step, ...], str] | None:
    found = numbers(value)
    return (tuple(levels(found)), "") if found and len(found) == 1 else None


def _once(found: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(dict.fromkeys(found))


_RULES: Mapping[str, Rule] = {
    "conv_stride": _chain,
    "strides": _chain,
    "patch_stride": _chain,
    "patch_strides": _chain,
    "downsampling_ratios": _chain,
    "upsampling_ratios": _backward,
    "patch_size": _patch,
    "tubelet_size": _tube,
    "downsample_in_first_stage": _first,
    "output_stride": _single,
}
