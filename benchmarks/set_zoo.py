"""Kept weights over timm's convolutional networks: how many run, what is certified, what float64 and timm say.

    STRIDEWISE_TRUTH=FOLDER python benchmarks/set_zoo.py sweep      every `pure` name at output stride 8 and 16
    STRIDEWISE_TRUTH=FOLDER python benchmarks/set_zoo.py numbers    a network a family in float64 beside its certificate
    python benchmarks/set_zoo.py timm                               timm's own output_stride beside ours
    python benchmarks/set_zoo.py table                              benchmarks/results/set_zoo.md from all of it

Each network is one line of benchmarks/results/set_zoo.jsonl (or of STRIDEWISE_ZOO_RECORDS); those that are there
already are not done again.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import stridewise as sw
from stridewise.errors import StridewiseError
from stridewise.models.load import default_input, load, load_shapes
from stridewise.models.zoo import declare_missing_ops
from stridewise.rewrites.certify import certify
from stridewise.rewrites.dilate import dilation
from stridewise.surgery.verify import compare, randomise

declare_missing_ops()
import timm  # noqa: E402 - wants torchvision's ops declared

HERE = Path(__file__).parent / "results"
RECORDS = Path(os.environ.get("STRIDEWISE_ZOO_RECORDS", HERE / "set_zoo.jsonl"))
TABLE = HERE / "set_zoo.md"
EXACT = 1e-12
# Networks whose output_stride timm takes: those that docs/measured.md names, and one a family beside them.
PEERS = """resnet18 resnet50 resnet50d resnet50t resnetblur50 seresnet50 ecaresnet50d resnext50_32x4d resnest50d
nfnet_f0 nf_resnet50 gernet_s mobileone_s0 regnetx_002 regnety_002 densenet121 mobilenetv2_100 mobilenetv3_small_100
mobilenetv3_large_100 efficientnet_b0 tf_efficientnet_b0 convnext_atto convnextv2_atto rexnet_100 skresnet18 mixnet_s
cspresnet50 cspdarknet53 darknet53 resnetv2_50 resnetv2_50d repvgg_a0 hardcorenas_a mnasnet_100 spnasnet_100 fbnetc_100
xception41 xception65 wide_resnet50_2 res2net50_26w_4s edgenext_small ghostnet_100 lcnet_050 tinynet_a""".split()


def pure() -> list[dict[str, str]]:
    """The names without attention or windows, in the table's order."""
    table = Path(os.environ.get("STRIDEWISE_TRUTH", "truth")) / "timm_convnets.csv"
    with table.open() as file:
        return [row for row in csv.DictReader(file) if row["kind"] == "pure"]


def family(name: str) -> str:
    """What a network's name begins with, up to the first digit or underscore."""
    return re.split(r"[_\d]", name.removeprefix("tf_"))[0]


def swept(name: str, cap: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Whether a network runs at this output stride, and what its certificate says; no weight is made."""
    model = load_shapes(f"timm:{name}")
    plan = sw.plan(sw.trace(model, shape), output_stride=cap, keep_weights=True)
    done = sw.apply(model, plan, input=shape)
    assert done.certificate is not None
    if not done.certificate.means:
        return {"verdict": "exact"}
    done.undo()
    grid = certify(dilation(sw.trace(model, shape), replace(plan, means="grid")))
    verdict = "exact maps, means of the head differ" if done.certificate.exact else "exact except means"
    return {"verdict": verdict, "grid": "exact" if grid.exact and not grid.means else "not"}


def numbers(name: str, means: str = "dense") -> dict[str, Any]:
    """Float64 beside the certificate at output stride 8, at a small odd size where the network takes one."""
    channels = default_input(f"timm:{name}")[0]  # type: ignore[index]
    for size in (97, 128, 224):
        model = load(f"timm:{name}")
        try:
            graph = sw.trace(load_shapes(f"timm:{name}"), (channels, size, size))
            plan = sw.plan(graph, output_stride=8, keep_weights=True, means=means)
            found = compare(model, plan, input=(channels, size, size))
        except (StridewiseError, RuntimeError, ValueError):
            if size == 224:
                raise
            continue
        assert found.done.certificate is not None
        exact = found.done.certificate.exact
        return {"size": size, "certified": exact, "features": found.features, "outputs": found.outputs}
    raise AssertionError


def beside_timm(name: str) -> dict[str, Any]:
    """Relative difference of the last feature map from the network's own, timm's way and ours, float64, at 224."""
    plain = load(f"timm:{name}").double()
    randomise(plain)
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    theirs = timm.create_model(name, pretrained=False, output_stride=8).eval().double()
    theirs.load_state_dict(plain.state_dict())
    with torch.no_grad():
        old, other = plain.forward_features(x), theirs.forward_features(x)
        plan = sw.plan(sw.trace(plain, (3, 224, 224)), output_stride=8, keep_weights=True, means="grid")
        sw.apply(plain, plan, input=(3, 224, 224))
        own = plain.forward_features(x)
    return {"timm": off(old, other), "ours": off(old, own)}


def off(old: torch.Tensor, new: torch.Tensor) -> float:
    """The smallest relative difference over the phases of the new map."""
    steps = [n // m for n, m in zip(new.shape[-2:], old.shape[-2:], strict=True)]
    found = []
    for a in range(steps[0]):
        for b in range(steps[1]):
            same = new[..., a :: steps[0], b :: steps[1]][..., : old.shape[-2], : old.shape[-1]]
            if same.shape == old.shape:
                found.append(float((same - old).abs().max() / old.abs().max()))
    return min(found)


def records() -> list[dict[str, Any]]:
    """What was found so far."""
    return [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []


def each(what: str, jobs: Iterable[tuple[str, int, Any]]) -> None:
    """Do the jobs that are not done, a line each."""
    there = {(r["what"], r["model"], r["cap"]) for r in records()}
    for name, cap, job in jobs:
        if (what, name, cap) in there:
            continue
        start = time.perf_counter()
        try:
            found = job()
        except (StridewiseError, RuntimeError, ValueError, TypeError, AssertionError) as error:
            found = {"verdict": "refused", "why": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        row = {"what": what, "model": name, "cap": cap, **found, "seconds": round(time.perf_counter() - start, 2)}
        with RECORDS.open("a") as file:
            file.write(json.dumps(row) + "\n")


def sweep() -> None:
    """Every pure network at both output strides."""
    for cap in (8, 16):
        rows = [(row["model"], tuple(int(n) for n in row["input"].split("x"))) for row in pure()]
        each("sweep", ((name, cap, lambda n=name, c=cap, s=shape: swept(n, c, s)) for name, shape in rows))


def every_family() -> None:
    """The network of fewest sites of each family; those with means once more with the means on the grid."""
    least: dict[str, dict[str, str]] = {}
    for row in pure():
        beside = least.setdefault(family(row["model"]), row)
        if int(row["sites"]) < int(beside["sites"]):
            least[family(row["model"])] = row
    names = sorted(row["model"] for row in least.values())
    each("numbers, dense", ((n, 8, lambda n=n: numbers(n)) for n in names))
    mixing = [r["model"] for r in records() if r["what"] == "numbers, dense" and r.get("certified") is False]
    each("numbers, grid", ((n, 8, lambda n=n: numbers(n, "grid")) for n in mixing))


def peers() -> None:
    """timm's output_stride where it takes one."""
    each("timm", ((name, 8, lambda n=name: beside_timm(n)) for name in PEERS))


def table() -> None:
    """Write the tables."""
    TABLE.write_text("\n".join(lines(records())) + "\n")


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The page, line by line."""
    out = ["# Kept weights over timm's convolutional networks", "", "Written by `python benchmarks/set_zoo.py`"]
    out[-1] += f" (sweep, numbers, timm, table); torch {torch.__version__}, timm {timm.__version__}."
    out += ["", "## What runs", "", "The 678 `pure` names of `timm_convnets.csv`, each at its own input size; every"]
    out += ["changed model is traced again and measures what its plan promised.", ""]
    out += [
        "| output stride | networks | run | every map exact | exact except means | of these exact with `--means grid` |"
    ]
    out += ["| ---: | ---: | ---: | ---: | ---: | ---: |"]
    for cap in (8, 16):
        found = [r for r in rows if r["what"] == "sweep" and r["cap"] == cap]
        by = Counter(r["verdict"] for r in found)
        exact = by["exact"] + by["exact maps, means of the head differ"]
        grid = sum(r["verdict"] == "exact except means" and r.get("grid") == "exact" for r in found)
        ran = len(found) - by["refused"]
        out += [f"| {cap} | {len(found)} | {ran} | {exact} | {by['exact except means']} | {grid} |"]
    refused = [r for r in rows if r["what"] == "sweep" and r["verdict"] == "refused"]
    out += ["", "Refused:", ""]
    out += [f"* {r['model']} at {r['cap']}: {r['why'].split(': ', 1)[-1]}" for r in refused] or ["none"]
    out += ["", "## What float64 says", "", "One network a family, output stride 8, near-zero parameters randomised, "]
    out[-1] += "relative difference of the last feature map from the old one."
    out += [
        "",
        "| network | size | certified | difference | with `--means grid` |",
        "| --- | ---: | --- | ---: | ---: |",
    ]
    grids = {r["model"]: r for r in rows if r["what"] == "numbers, grid"}
    wrong = 0
    for r in (r for r in rows if r["what"] == "numbers, dense"):
        if "certified" not in r:
            out += [f"| {r['model']} | | refused | | |"]
            continue
        told, again = r["features"], grids.get(r["model"], {})
        beside = "refused" if again.get("verdict") == "refused" else _number(again.get("features"))
        wrong += told is not None and (told <= EXACT) is not r["certified"]
        says = "exact" if r["certified"] else "exact except means"
        out += [f"| {r['model']} | {r['size']} | {says} | {_number(told)} | {beside} |"]
    out += ["", f"Certificate and numbers disagree for {wrong} of these (limit {EXACT:g}, both ways)."]
    out += ["", "## timm's own `output_stride=8`", "", "Relative difference of the last feature map from the network "]
    out[-1] += "without it, float64, 224x224, the best phase; ours with `--means grid`."
    out += ["", "| network | timm | ours |", "| --- | ---: | ---: |"]
    for r in (r for r in rows if r["what"] == "timm"):
        if "timm" in r:
            out += [f"| {r['model']} | {_number(r['timm'])} | {_number(r['ours'])} |"]
    no = [r["model"] for r in rows if r["what"] == "timm" and "timm" not in r]
    out += ["", f"timm takes none for: {', '.join(no)}."] if no else []
    return out


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    {"sweep": sweep, "numbers": every_family, "timm": peers, "table": table}[sys.argv[1]]()
