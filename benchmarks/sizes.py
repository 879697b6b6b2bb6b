"""Which sizes a network takes: `sw.sizes` against running torch at every size, counted.

    python benchmarks/sizes.py [--drawn 60] [--upto 128] [--seed 0] [--zoo smp,monai,timm] [--seconds 900]

Drawn networks are those of `tests/strategies.py`, on both axes. The zoo: encoders of segmentation_models_pytorch under
its decoders, MONAI's U-Net and SegResNet, timm's U-Net-like pyramids. All run on meta tensors, in eval, one picture,
the other axis as traced. A size on which an output is empty counts as one that does not run. Prints each axis that
differs with its first sizes, then one JSON line: axes and sizes compared, unknown (said so), wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import stridewise as sw
from stridewise.errors import StridewiseError
from stridewise.models.zoo import declare_missing_ops


def runs(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether it runs and leaves a position."""
    like = next(model.parameters(), torch.zeros(1))
    try:
        with torch.no_grad():
            found = model(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError, ZeroDivisionError):
        return False
    maps = [found] if isinstance(found, torch.Tensor) else list(found)
    return all(m.numel() > 0 for m in maps if isinstance(m, torch.Tensor))


def drawn(count: int, seed: int) -> Iterator[tuple[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]]]:
    """Networks drawn by seed, every one with a skip."""
    from strategies import network

    for number in range(count):
        made = network(seed * 100_000 + number)
        yield f"drawn {number}", lambda made=made: (made.model.eval(), made.shape)  # type: ignore[misc]


def zoo(kinds: list[str]) -> Iterator[tuple[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]]]:
    """Networks of others, built on the meta device."""
    declare_missing_ops()
    if "smp" in kinds:
        import segmentation_models_pytorch as smp

        pairs = [(smp.Unet, "resnet18"), (smp.Unet, "efficientnet-b0"), (smp.UnetPlusPlus, "resnet18")]
        pairs += [(smp.MAnet, "resnet18"), (smp.Linknet, "resnet18"), (smp.FPN, "resnet18"), (smp.PSPNet, "resnet18")]
        pairs += [(smp.PAN, "resnet18"), (smp.DeepLabV3, "resnet18"), (smp.DeepLabV3Plus, "resnet18")]
        pairs += [(smp.Unet, "mobilenet_v2"), (smp.UPerNet, "resnet18")]
        for kind, encoder in pairs:
            yield (
                f"smp {kind.__name__} {encoder}",
                lambda k=kind, e=encoder: (  # type: ignore[misc]
                    k(e, encoder_weights=None),
                    (3, 96, 96),
                ),
            )
    if "monai" in kinds:
        from monai.networks.nets import BasicUNet, SegResNet, UNet

        yield "monai UNet", lambda: (UNet(2, 1, 2, (4, 8, 16, 32), (2, 2, 2)), (1, 64, 64))
        yield "monai UNet 3d", lambda: (UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=2), (1, 32, 32, 24))
        yield "monai SegResNet", lambda: (SegResNet(2, init_filters=8, in_channels=1), (1, 64, 64))
        yield "monai BasicUNet", lambda: (BasicUNet(2, 1, 2, (4, 4, 8, 8, 8, 4)), (1, 64, 64))
    if "timm" in kinds:
        import timm

        for name in ("resnet18", "convnext_atto", "efficientnet_lite0", "regnety_002", "hrnet_w18_small"):
            yield f"timm {name} pyramid", lambda n=name: (timm.create_model(n, features_only=True), (3, 96, 96))  # type: ignore[misc]
    if "torchvision" in kinds:
        import torchvision

        for name in ("swin_t", "vit_b_16", "resnet18", "densenet121", "googlenet", "mobilenet_v3_small"):
            yield f"torchvision {name}", lambda n=name: (torchvision.models.get_model(n, weights=None), (3, 224, 224))  # type: ignore[misc]


def compared(model: nn.Module, shape: tuple[int, ...], upto: int) -> tuple[int, int, list[str]]:
    """(sizes compared, axes unknown, an axis that differs in words)."""
    graph = sw.trace(model, shape)
    found = sw.sizes(graph)
    known = not found.notes
    count, unknown, wrong = 0, 0, []
    alike = len({(a.works, a.traced) for a in found.axes}) == 1
    for axis in found.axes[:1] if alike and len(found.axes) > 1 and len(set(shape[1:])) == 1 else found.axes:
        if not known:
            unknown += 1
            continue
        differs = []
        for size in range(1, upto + 1):
            at = list(shape)
            at[1 + axis.axis] = size
            count += 1
            real = runs(model, tuple(at))
            if real != (size in axis):
                differs.append(size)
        if differs:
            works = [str(w) for w in axis.works[:3]]
            wrong.append(f"axis {axis.axis}: {len(differs)} of {upto} differ, {differs[:8]}; works {works}")
    return count, unknown, wrong


def main() -> None:
    """Compare and count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawn", type=int, default=60)
    parser.add_argument("--upto", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zoo", default="smp,monai,timm")
    parser.add_argument("--seconds", type=float, default=900)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    begin = time.monotonic()
    totals: dict[str, Any] = {"networks": 0, "sizes": 0, "unknown_axes": 0, "wrong_axes": 0, "refused": 0, "left": 0}
    for name, make in (*drawn(asked.drawn, asked.seed), *zoo([k for k in asked.zoo.split(",") if k])):
        if time.monotonic() - begin > asked.seconds:
            totals["left"] += 1
            continue
        try:
            if name.startswith("drawn"):
                model, shape = make()
            else:
                with torch.device("meta"):
                    model, shape = make()
            count, unknown, wrong = compared(model.eval(), shape, asked.upto)
        except StridewiseError as error:
            totals["refused"] += 1
            print(f"{name}: {error}")
            continue
        totals["networks"] += 1
        totals["sizes"] += count
        totals["unknown_axes"] += unknown
        totals["wrong_axes"] += len(wrong)
        for line in wrong:
            print(f"{name}: {line}", flush=True)
    print(json.dumps({**totals, "upto": asked.upto, "seed": asked.seed, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
