"""`measure`: any number of plans side by side, every network on the same pictures in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stridewise.analyses import cost
from stridewise.analyses.declared import cumulative_stride
from stridewise.analyses.fields import evaluate
from stridewise.errors import DataError, UsageError
from stridewise.measuring.box_shift import box_shift
from stridewise.measuring.dense_shift import dense_shift
from stridewise.measuring.detail import aliasing_findings, detail
from stridewise.measuring.field import effective_fields
from stridewise.measuring.intervals import difference, ratio
from stridewise.measuring.latency import latency
from stridewise.measuring.memory import peak_memory
from stridewise.measuring.offsets import DRAWN
from stridewise.measuring.onnx_memory import onnx_peak
from stridewise.measuring.pictures import Pictures, load_pictures
from stridewise.measuring.result import Measured
from stridewise.measuring.rows import Exact, Row
from stridewise.measuring.shift import ZHANG, shift
from stridewise.measuring.variants import Variant, Variants, first_output, kind_of, variants
from stridewise.plans import Plan

WHAT = ("latency", "memory", "shift", "detail", "fields", "accuracy")
_ON_PICTURES = {"shift", "detail", "fields", "accuracy"}
Progress = Callable[[str, int, int], None]
"""Called with what is being measured, how much is done, and of how much."""


def measure(
    model: Any,
    plans: Mapping[str, Plan] | Sequence[Plan | str | Path] = (),
    *,
    what: Sequence[str] = ("latency", "memory"),
    data: Any = None,
    split: str | None = None,
    input: Sequence[int] | None = None,
    images: int = 32,
    mode: str = "crop",
    preset: str = "",
    drawn: int = DRAWN,
    batch: int = 1,
    rounds: int = 20,
    threads: int = 1,
    device: str = "cpu",
    weights: Any = None,
    trust: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Measured:
    """A network as it is and under plans, measured beside each other: latency, memory, shift, detail, fields, accuracy.

    model: a name as `sw.load` takes it, a live module (its copies are changed, not it), modules by name (an elastic
    network's `apart()`), or trained networks (`tasks.train.ready`). plans: by name, or files.
    data: a data set or what opens one; None: windows of two built-in photographs. images: pictures to measure on.
    mode, preset, drawn: of shift consistency (crop, roll, pad; "zhang2019"). batch, rounds, threads: of latency.
    Raises: StridewiseError in one line.

    >>> found = sw.measure("builtin:resnet20-narrow", what=["memory"], input=(3, 16, 16))
    >>> found.to_json()["plans"][0]["macs"]
    {'kind': 'exact', 'value': 2578752}
    """
    asked = _asked(what, threads, images)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found: Variants | None = None
    try:
        if preset:
            input = (3, ZHANG["size"], ZHANG["size"]) if input is None else input
        found = variants(
            model, _named(plans), input=input, weights=weights, trust=trust, device=_device(device), seed=seed
        )
        rows: dict[str, dict[str, Any]] = {v.name: {"name": v.name, "exact": _exact(v)} for v in found.every}
        notes: list[str] = []
        settings: dict[str, Any] = {"threads": threads, "device": device, "seed": seed}
        if (
            weights is None
            and isinstance(model, str)
            and _ON_PICTURES & set(asked)
            and found.every[0].model is not None
        ):
            notes.append(
                "weights are random: what is measured on pictures is the architecture's doing, not a trained one's"
            )
        if {"latency", "memory"} & set(asked):
            _time(found, rows, asked, batch, rounds, threads, device, progress)
            settings |= {"batch": batch, "rounds": rounds}
        if "accuracy" in asked and found.ready:
            if data is None:
                raise DataError("accuracy: name the pictures to judge on with --data")
            for trained in found.ready:
                rows[trained.name]["accuracy"] = trained.judge(data)
            notes.append(f"accuracy is {found.ready[0].metric} on the whole held-out split, at the labels' own size")
        if (_ON_PICTURES - {"accuracy"} if found.ready else _ON_PICTURES) & set(asked):
            pictures = _pictures(found, data, split, images, mode, preset, asked, seed)
            settings |= {"data": pictures.name, "pictures": len(pictures.x), "standard": found.standard}
            notes += [*map(str, pictures.report.dropped), *pictures.report.notes]
            _look(found, rows, pictures, asked, mode, preset, drawn, device, seed, progress)
    finally:
        torch.set_num_threads(before)
        if found is not None:
            found.close()
    return Measured(
        model=found.model,
        input=found.input,
        what=asked,
        rows=tuple(Row(**row) for row in rows.values()),
        conditions=settings,
        notes=tuple(notes),
    )


def _asked(what: Sequence[str], threads: int, images: int) -> tuple[str, ...]:
    names = tuple(dict.fromkeys([what] if isinstance(what, str) else what))
    for name in names:
        if name not in WHAT:
            raise UsageError(f"measure: '{name}' is none of {', '.join(WHAT)}")
    if not names or threads < 1 or images < 1:
        raise UsageError(
            f"measure: {len(names)} figures on {images} pictures by {threads} threads: one or more of each"
        )
    return names


def _named(plans: Mapping[str, Plan] | Sequence[Plan | str | Path]) -> dict[str, Plan]:
    if isinstance(plans, Mapping):
        return dict(plans)
    found: dict[str, Plan] = {}
    for number, plan in enumerate([plans] if isinstance(plans, Plan | str | Path) else plans, 1):
        name = f"plan {number}" if isinstance(plan, Plan) else Path(plan).stem
        found[name if name not in found else f"{name} ({number})"] = plan if isinstance(plan, Plan) else Plan.read(plan)
    return found


def _device(device: str) -> str:
    try:
        torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device '{device[:40]}': torch knows none of that name: take cpu, cuda or cuda:1") from error
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device {device}: torch sees no GPU here: use cpu")
    return device


def _exact(variant: Variant) -> Exact:
    state = evaluate(variant.graph)
    last = variant.graph.last
    stride = None if last is None else cumulative_stride(state, last)
    return Exact(
        macs=cost.macs(variant.graph, state.sizes),
        params=variant.graph.params,
        output_stride=tuple(str(s) for s in stride or ()),
        peak_bytes=cost.peak_bytes(variant.graph, state.sizes),
    )


def _time(
    found: Variants,
    rows: dict[str, dict[str, Any]],
    asked: Sequence[str],
    batch: int,
    rounds: int,
    threads: int,
    device: str,
    progress: Progress | None,
) -> None:
    if batch < 1:
        raise UsageError(f"latency: a batch of {batch}: one or more pictures are wanted")
    x = torch.randn(batch, *found.input, generator=torch.Generator().manual_seed(0)).to(device)
    tick = None if progress is None else lambda done, total: progress("latency", done, total)
    by_name = {v.name: v for v in found.every}
    calls = {name: v.call for name, v in by_name.items()}
    for record in latency(calls, x, rounds=rounds, threads=threads, tick=tick):
        peak = _peak(by_name[record.name], x, threads) if "memory" in asked else None
        rows[record.name] |= {"latency": replace(record, peak_bytes=peak), "memory": "memory" in asked}


def _peak(variant: Variant, x: torch.Tensor, threads: int) -> int | None:
    return onnx_peak(variant.file, x.shape, threads) if variant.file else peak_memory(variant.call, x)


def _pictures(
    found: Variants,
    data: Any,
    split: str | None,
    images: int,
    mode: str,
    preset: str,
    asked: Sequence[str],
    seed: int,
) -> Pictures:
    channels, *size = found.input
    margin = [0] * len(size)
    if "shift" in asked and mode == "crop":
        margin = [max(v.coarsest[axis] for v in found.every) - 1 for axis in range(len(size))]
        if preset:
            margin = [ZHANG["picture"] - ZHANG["size"]] * len(size)
    target = [n + m for n, m in zip(size, margin, strict=True)]
    standard = found.ready[0].moments if found.ready else found.standard
    return load_pictures(data, target, images, channels=channels, standard=standard, split=split, seed=seed)


def _look(
    found: Variants,
    rows: dict[str, dict[str, Any]],
    pictures: Pictures,
    asked: Sequence[str],
    mode: str,
    preset: str,
    drawn: int,
    device: str,
    seed: int,
    progress: Progress | None,
) -> None:
    """What is measured on pictures."""
    size = found.input[1:]
    inner = pictures.inner(size)
    if "accuracy" in asked and not found.ready:
        _accuracy(found, rows, pictures, inner.to(device), seed)
    if "shift" in asked:
        networks = {v.name: v.network() for v in found.every}
        with torch.inference_mode():
            task = kind_of(found.every[0].call(inner[:1].to(device)), len(size))
        tick = None if progress is None else lambda done, total: progress("shift", done, total)
        x = (pictures.x if mode == "crop" else inner).to(device)
        common: dict[str, Any] = {"mode": mode, "drawn": drawn, "seed": seed, "tick": tick}
        results: Sequence[Any]
        if task == "classify":
            labels = pictures.labels if _fits(found, pictures, inner[:1].to(device)) else None
            results = shift(networks, x, size, labels=labels, preset=preset, **common)
        elif preset:
            raise UsageError(f"shift: preset {preset} is for classification, this network does {task}")
        elif task == "segment":
            results = dense_shift(networks, x, size, **common)
        else:
            results = box_shift(networks, x, size, truth=pictures.boxes, **common)
        for result in results:
            rows[result.name]["shift"] = result
    for variant in found.every if {"detail", "fields"} & set(asked) else ():
        if variant.model is None:
            raise UsageError(f"{found.model}: detail and fields look inside a live model, not an ONNX file")
        if "detail" in asked:
            tick = None if progress is None else lambda done, total: progress("detail", done, total)
            kept = detail(variant.model, variant.graph, inner.to(device), tick=tick)
            rows[variant.name] |= {"detail": kept, "findings": tuple(aliasing_findings(kept))}
        if "fields" in asked:
            rows[variant.name]["fields"] = effective_fields(variant.model, variant.graph, inner[:4].to(device))


def _fits(found: Variants, pictures: Pictures, x: torch.Tensor) -> bool:
    """Whether the network's classes can be those of the data."""
    with torch.inference_mode():
        return int(first_output(found.every[0].call(x)).shape[1]) == len(pictures.classes)


def _accuracy(found: Variants, rows: dict[str, dict[str, Any]], pictures: Pictures, x: torch.Tensor, seed: int) -> None:
    if pictures.labels is None:
        raise DataError(
            f"accuracy: {pictures.name} gives no class for its pictures: name labelled pictures with --data"
        )
    if len(pictures.classes) < 2:
        raise DataError(f"accuracy: {pictures.name} holds one class: two or more are wanted")
    first: Any = None
    for variant in found.every:
        with torch.inference_mode():
            scores = torch.cat([first_output(variant.call(part)).cpu() for part in x.split(32)])
        if scores.dim() != 2 or scores.shape[1] != len(pictures.classes):
            raise DataError(
                f"accuracy: {found.model} gives {'x'.join(map(str, scores.shape[1:]))} scores, {pictures.name} has "
                f"{len(pictures.classes)} classes"
            )
        right = (scores.argmax(dim=1).numpy() == pictures.labels).astype(np.float64)
        sums = (right, np.ones(len(right)))
        rows[variant.name]["accuracy"] = ratio(*sums, seed=seed)
        if first is None:
            first = sums
        else:
            rows[variant.name]["accuracy_versus"] = difference(first, sums, seed=seed)
