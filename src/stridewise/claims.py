"""What is said about stride, tested: the figures behind docs/stride.md.

Weights are random (seeded) but where a row says "trained": what comes out is the architecture's doing. Pictures are
windows of the two photographs that ship with scikit-learn; abstraction looks at builtin:digits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import RidgeClassifierCV
from torch import nn
from torch.nn import functional

import stridewise as sw
from stridewise.convolution import convolve, read_kernel
from stridewise.data import digits
from stridewise.errors import UsageError
from stridewise.measuring.capture import run_watched
from stridewise.measuring.detail import detail, lost_at
from stridewise.measuring.field import effective_fields
from stridewise.measuring.ladder import maps
from stridewise.measuring.memory import peak_memory
from stridewise.measuring.pictures import load_pictures
from stridewise.measuring.variants import variants
from stridewise.models.builtin import Block
from stridewise.tasks.classify import Classify
from stridewise.tasks.trained import load_trained
from stridewise.tracing.steps import Step

REQUESTS: dict[str, dict[str, dict[str, Any]]] = {
    "torchvision:resnet18": {"first step 1": {"conv1": 1}, "first step 4": {"conv1": 4}},
    "torchvision:mobilenet_v2": {"first step 1": {"features.0.0": 1}, "first step 4": {"features.0.0": 4}},
}
SIZE = 128


def with_plans(name: str, size: int = SIZE) -> Any:
    """The network as it is, and with its first step at 1 and at 4."""
    graph = sw.trace(sw.load(name), (3, size, size))
    plans = {label: sw.plan(graph, request) for label, request in REQUESTS[name].items()}
    return variants(name, plans, input=(3, size, size)).every


def cost() -> dict[str, Any]:
    """Exact multiply-adds, last map and output stride."""
    out: dict[str, Any] = {}
    for name in REQUESTS:
        for variant in with_plans(name, 224):
            totals = sw.show(variant.graph).to_json()["totals"]
            out[f"{name}, {variant.name}"] = {k: totals[k] for k in ("macs", "output_stride", "peak_activation_bytes")}
    return out


def memory() -> dict[str, Any]:
    """Measured peak bytes of one forward, weights and input left out."""
    x = torch.randn(1, 3, SIZE, SIZE)
    return {
        f"{name}, {variant.name}": peak_memory(variant.call, x) for name in REQUESTS for variant in with_plans(name)
    }


def kept() -> dict[str, Any]:
    """Share of the picture's detail finer than 4 and 8 pixels that is linearly readable after the first stages."""
    x = load_pictures(None, (SIZE, SIZE), 12, standard="imagenet").x
    out = {}
    for name in REQUESTS:
        for variant in with_plans(name):
            found = detail(variant.model, variant.graph, x)
            for row in found.depth[:3]:
                shares = dict(zip(row.finer_than, row.kept, strict=True))
                key = f"{name}, {variant.name}, {row.path} (stride {row.stride[0]})"
                out[key] = {f"< {p} px": shares.get(p) for p in (4, 8, 16)}
    return out


def wide(seed: int) -> nn.Module:
    """A 3x3 convolution of step 2 that gives four times the channels, random weights."""
    torch.manual_seed(seed)
    return nn.Conv2d(3, 12, 3, stride=2, padding=1).double().requires_grad_(False)


def kinds() -> dict[str, Any]:
    """Detail that steps of 2 lose of the two photographs: one judged by a decoder fitted on the other, at half and at
    full size; and halves of both judged by one fitted on their other halves, at full size. Five convolutions."""
    full = [image[:426] for image in load_sample_images().images]
    half = [np.asarray(Image.fromarray(image).resize((320, 212), Image.Resampling.BICUBIC)) for image in full]
    left, right = ([image[:, at : at + 320] for image in full] for at in (0, 320))
    splits = {
        "half size, first fits, second judges": half,
        "half size, second fits, first judges": half[::-1],
        "full size, first fits, second judges": full,
        "full size, second fits, first judges": full[::-1],
        "full size, left halves fit, right ones judge": left + right,
        "full size, right halves fit, left ones judge": right + left,
    }
    return {split: lost_by_kind(pictures) for split, pictures in splits.items()}


def sets() -> dict[str, Any]:
    """The same of eight photographs of each set in the folder named by STRIDEWISE_DATA: four fit, four judge."""
    folder = os.environ.get("STRIDEWISE_DATA")
    if not folder:
        raise UsageError("sets: name the folder of the picture sets with STRIDEWISE_DATA")
    out: dict[str, Any] = {}
    for name, size in {"trashnet": (256, 340), "camvid": (360, 480), "bccd": (480, 640)}.items():
        pictures = list(load_pictures(Path(folder) / name, size, 8).pixels)
        out[f"{name}, first four fit"] = lost_by_kind(pictures)
        out[f"{name}, last four fit"] = lost_by_kind(pictures[::-1])
    return out


def lost_by_kind(pictures: Sequence[np.ndarray[Any, Any]]) -> dict[str, float | None]:
    """Share of detail lost by each kind of step of 2, of pictures (height, width, 3): half of them fit, half judge."""
    steps: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "space-to-depth": lambda x: functional.pixel_unshuffle(x, 2),
        **{f"3x3/2, 4x channels, seed {seed}": wide(seed) for seed in range(5)},
        "plain": lambda x: x[..., ::2, ::2],
        "2x2 mean": lambda x: functional.avg_pool2d(x, 2),
    }
    fine = [picture.transpose(2, 0, 1) / 255 for picture in pictures]
    lost = {}
    for name, step in steps.items():
        coarse = [step(torch.tensor(x)[None])[0].numpy() for x in fine]
        lost[name] = lost_at(fine, coarse, (2, 2), held_out=0.5).lost[0]
    return lost


class Subsample(nn.Module):
    """Every second position."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H / 2, W / 2)."""
        return x[..., ::2, ::2]


def stages(residual: bool, kind: str, total: int, seed: int) -> nn.Module:
    """Four stages of eight channels (convolution and ReLU, or a residual block), the first ones followed by a step.

    kind: plain (every second position), or what a plan inserts there: a blur of three taps, or polyphase.
    """
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for stage in range(4):
        first = 3 if stage == 0 else 8
        conv = nn.Sequential(nn.Conv2d(first, 8, 3, padding=1), nn.ReLU())
        layers.append(Block(first, 8) if residual else conv)
        if 2 ** (stage + 1) <= total and kind == "plain":
            layers.append(Subsample())
        elif 2 ** (stage + 1) <= total:  # as a plan inserts it at a slot; the last place is none, nothing gets cheaper
            layers[-1].register_forward_hook(Step.at_slot(kind, (2, 2), str(stage)))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def shift() -> dict[str, Any]:
    """Output change, 1 = another picture, when the picture moves, gets noise (deviation 0.1) or grows by 5 %."""
    size, count = 64, 16
    wide = load_pictures(None, (size + 32,) * 2, count).x
    grown = functional.interpolate(wide, scale_factor=1.05, mode="bicubic", align_corners=False)
    torch.manual_seed(0)
    here = wide[:, :, 8 : 8 + size, 8 : 8 + size]
    middle = (grown.shape[-1] - wide.shape[-1]) // 2 + 8
    changed: dict[str, torch.Tensor] = {
        **{f"moved {n}": wide[:, :, 8 : 8 + size, 8 + n : 8 + n + size] for n in (1, 2, 3, 4, 7, 8, 16, 17)},
        "noise": here + 0.1 * torch.randn_like(here),
        "grown": grown[:, :, middle : middle + size, middle : middle + size],
    }
    out: dict[str, Any] = {}
    for residual in (False, True):
        for kind in ("plain", "blur", "polyphase"):
            for total in (1, 2, 4, 8, 16) if kind == "plain" else (2, 4, 8, 16):
                rows: dict[str, list[float]] = {key: [] for key in changed}
                for seed in range(5):
                    with torch.inference_mode():
                        net = stages(residual, kind, total, seed)
                        before = net(here)
                        other = 2 * ((before - before.mean(dim=0)) ** 2).sum() / (count - 1)
                        for key, x in changed.items():
                            rows[key].append(float((((net(x) - before) ** 2).sum() / count / other) ** 0.5))
                name = f"{'residual' if residual else 'chain'}, {kind}, total stride {total}"
                out[name] = {key: round(float(np.mean(values)), 4) for key, values in rows.items()}
    return out


def field() -> dict[str, Any]:
    """Theoretical and effective field of chains by depth, kernel and stride, and of two networks along their depth."""
    x = load_pictures(None, (SIZE, SIZE), 4, standard="imagenet").x
    out: dict[str, Any] = {}
    for name, (depth, kernel, stride) in {
        "4 layers 3x3": (4, 3, 1),
        "8 layers 3x3": (8, 3, 1),
        "16 layers 3x3": (16, 3, 1),
        "4 layers 5x5": (4, 5, 1),
        "4 layers 3x3, first two step by 2": (4, 3, 2),
        "8 layers 3x3, first two step by 2": (8, 3, 2),
    }.items():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for k in range(depth):
            step = stride if k < 2 else 1
            layers += [nn.Conv2d(3 if k == 0 else 8, 8, kernel, padding=kernel // 2, stride=step), nn.ReLU()]
        net = nn.Sequential(*layers).eval()
        last = effective_fields(net, sw.trace(net, (3, SIZE, SIZE)), x)[-1]
        out[name] = {"field": last.theoretical, "effective": last.effective}
    for name in REQUESTS:
        torch.manual_seed(0)
        model = sw.load(name)
        for f in effective_fields(model, sw.trace(model, (3, SIZE, SIZE)), x):
            out[f"{name}, {f.path}"] = {"stride": f.stride, "field": f.theoretical, "effective": f.effective}
    return out


def abstraction() -> dict[str, Any]:
    """Along the depth of two networks, untrained and trained to read digits: what of the picture, and what of its
    class, a linear reader finds, and how far a shift of two pixels moves what it is given."""
    out: dict[str, Any] = {}
    for name, size, epochs in (("builtin:resnet20-narrow", 32, 6), ("timm:test_resnet", 64, 8)):
        data = digits(size=size)
        splits = Classify().read(data, None)
        with tempfile.TemporaryDirectory() as folder:
            record = sw.train("classify", name, data=data, epochs=epochs, rate=1e-2, augment=("shift",), run=folder)
            trained = load_trained(folder).model
        out[f"{name}, trained"] = {"accuracy": record.score, "low": record.low, "high": record.high}
        torch.manual_seed(0)
        untrained = Classify().network(name, sw.Plan(), splits)
        for label, model in (("untrained", untrained), ("trained", trained)):
            out[f"{name}, {label}, by depth"] = _by_depth(model, splits)
    return out


def _by_depth(model: nn.Module, splits: Any) -> dict[str, Any]:
    """A row for the picture and one for each map: class readable, detail finer than 4 pixels readable, change."""
    graph = sw.trace(model, splits.shape)
    ladder = maps(graph)
    photographs = load_pictures(None, (SIZE, SIZE), 24).x
    depth = detail(model, sw.trace(model, (3, SIZE, SIZE)), photographs).depth
    shares = {row.path: dict(zip(row.finer_than, row.kept, strict=True)) for row in depth}
    learn, judge = splits.train, splits.held_out
    moved = torch.roll(judge.x, (2, 2), (2, 3))  # over the edge: what comes in at the border is the picture's own
    taken = [_pooled(model, [m.watch for m in ladder], x) for x in (learn.x, judge.x, moved)]
    rows: dict[str, Any] = {}
    for key, path in (("picture", ""), *((f"{m.path} (stride {m.stride[0]})", m.path) for m in ladder)):
        watch = next((m.watch for m in ladder if m.path == path), "")
        known, asked, shifted = (found[watch] for found in taken)
        level, scale = known.mean(axis=0), known.std(axis=0) + 1e-9
        reader = RidgeClassifierCV(alphas=10.0 ** np.arange(-2, 6)).fit((known - level) / scale, learn.y.numpy())
        other = 2 * ((asked - asked.mean(axis=0)) ** 2).sum() / (len(asked) - 1)
        rows[key] = {
            "class readable": float(reader.score((asked - level) / scale, judge.y.numpy())),
            "detail < 4 px readable": shares[path].get(4) if path else 1.0,
            "moved by 2 px": float((((shifted - asked) ** 2).sum() / len(asked) / other) ** 0.5),
            "values": known.shape[1],
        }
    return rows


def _pooled(model: nn.Module, paths: list[str], x: torch.Tensor) -> dict[str, Any]:
    """What a linear reader is given of the picture ("") and of each map: its means over 4x4 fields, as rows."""
    rows: dict[str, list[Any]] = {"": [functional.adaptive_avg_pool2d(x, 4).flatten(1).numpy()]}
    for found in run_watched(model, paths, x, batch=100):
        for path, (before, after) in found.items():
            seen = before if path.startswith("+") else after
            rows.setdefault(path, []).append(functional.adaptive_avg_pool2d(seen, 4).flatten(1).numpy())
    return {path: np.concatenate(parts).astype(np.float64) for path, parts in rows.items()}


def pattern() -> dict[str, Any]:
    """A filter's own pattern planted in noise, at every place of a step's period: whether the map's brightest cell
    stands there where a window does, at how many places it is the nearest one, and where no window reads any of it."""
    filters = {name: np.asarray(read_kernel(name)[1]) for name in ("laplacian", "gabor:9:45", "gaussian:15")}
    for name, layer in (("torchvision:resnet18", "conv1"), ("torchvision:mobilenet_v2", "features.0.0")):
        torch.manual_seed(0)
        weight = sw.load(name).get_parameter(f"{layer}.weight")
        filters[f"{name}, {layer}, filter 0"] = weight[0].detach().double().numpy()
    return {name: {f"stride {s}": planted(own, s) for s in (1, 2, 4, 8, 16)} for name, own in filters.items()}


def planted(weight: np.ndarray[Any, Any], stride: int, noise: float = 0.02) -> dict[str, float]:
    """The pattern at every phase of a stride, over noise of this share of its deviation; 1 is the answer to itself.

    under a window: the answer where a window stands on it, if that is the brightest cell, else 0; found: share of all
    places where the brightest cell is the nearest one; jumped over: share that no window reads a part of.
    Shape: weight (rows, columns) or (channels, rows, columns).
    """
    filters = (weight - weight.mean()).reshape(1, -1, *weight.shape[-2:])
    size, taps, answers = 96, filters.shape[2:], dict[tuple[int, int], float]()
    around = np.random.default_rng(0).normal(0, noise * filters.std(), (filters.shape[1], size, size))
    jumped = 0
    for place in np.ndindex(stride, stride):
        x, at = around.copy(), [32 + k for k in place]
        x[(slice(None), *(slice(a, a + n) for a, n in zip(at, taps, strict=True)))] += filters[0]
        made = convolve(x, filters, stride=stride)[0]
        best = np.unravel_index(int(made.argmax()), made.shape)
        if all(2 * abs(int(cell) * stride - a) <= stride for cell, a in zip(best, at, strict=True)):
            answers[place] = float(made[best] / (filters**2).sum())
        jumped += any(k >= n and stride - k >= n for k, n in zip(place, taps, strict=True))
    return {
        "under a window": round(answers.get((0, 0), 0.0), 2),
        "found": round(len(answers) / stride**2, 3),
        "jumped over": round(jumped / stride**2, 3),
    }


CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "cost": cost,
    "detail": kept,
    "kinds": kinds,
    "sets": sets,
    "memory": memory,
    "shift": shift,
    "field": field,
    "pattern": pattern,
    "abstraction": abstraction,
}
