"""How fast a network is analysed: Stridewise against bare forwards and peer reports, interleaved in one process.

    python benchmarks/analysis.py [--rounds 5] [--models 40] [--threads 2]

"stridewise" is everything from the live model to the finished dict: trace, sizes, fields, costs, groups, findings.
Each peer is called as its documentation shows, on the CPU with its defaults. Every round runs all tools on a model in
a drawn order; the figures are medians over the rounds, ratios are taken within a model. Prints one JSON line a model,
then a Markdown table; both are kept in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stridewise.models.load import load, load_shapes
from stridewise.showing.show import show
from stridewise.tracing.trace import trace

MODELS = """
torchvision:alexnet torchvision:vgg11 torchvision:resnet18 torchvision:resnet50 torchvision:resnet101
torchvision:resnext50_32x4d torchvision:wide_resnet50_2 torchvision:densenet121 torchvision:mobilenet_v2
torchvision:mobilenet_v3_large torchvision:squeezenet1_1 torchvision:shufflenet_v2_x1_0 torchvision:googlenet
torchvision:inception_v3 torchvision:mnasnet1_0 torchvision:efficientnet_b0 torchvision:regnet_y_800mf
torchvision:convnext_tiny torchvision:efficientnet_v2_s torchvision:fcn_resnet50 timm:resnet50d timm:resnetv2_50
timm:seresnet50 timm:ecaresnet26t timm:resnest14d timm:res2net50_26w_4s timm:dla34 timm:dpn68 timm:hrnet_w18_small
timm:cspresnet50 timm:cspdarknet53 timm:darknet53 timm:vovnet39a timm:ghostnet_100 timm:mixnet_s timm:rexnet_100
timm:tf_efficientnet_lite0 timm:convnextv2_atto timm:regnetx_008 timm:repvgg_a2
""".split()
Tool = Callable[[], object]


def tools(name: str) -> dict[str, Tool]:
    """What is timed on one model, by name; peers that are not installed are left out."""
    size = 299 if "inception" in name else 224
    shape = (3, size, size)
    real = load(name)
    meta = load_shapes(name).to("meta")
    on_meta, on_cpu = torch.empty(1, *shape, device="meta"), torch.zeros(1, *shape)
    found: dict[str, Tool] = {
        "stridewise": lambda: show(trace(meta, shape, name=name)).to_json(),
        "meta forward": lambda: _forward(meta, on_meta),
        "CPU forward": lambda: _forward(real, on_cpu),
        "FlopCounterMode": lambda: _flops(real, on_cpu),
    }
    with contextlib.suppress(ImportError):
        import torchinfo

        found["torchinfo"] = lambda: torchinfo.summary(real, input_size=(1, *shape), verbose=0)
    with contextlib.suppress(ImportError):
        from fvcore.nn import FlopCountAnalysis

        def fvcore() -> object:
            counted = FlopCountAnalysis(real, on_cpu)
            return counted.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()

        found["fvcore"] = fvcore
    with contextlib.suppress(ImportError):
        from ptflops import get_model_complexity_info

        found["ptflops"] = lambda: get_model_complexity_info(
            real, shape, as_strings=False, print_per_layer_stat=False, verbose=False
        )
    with contextlib.suppress(ImportError):
        from torchscan import crawl_module

        found["torchscan"] = lambda: crawl_module(real, shape)
    return found


def _forward(model: torch.nn.Module, x: torch.Tensor) -> object:
    with torch.no_grad():
        return model(x)


def _flops(model: torch.nn.Module, x: torch.Tensor) -> object:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return counter.get_total_flops()


def timed(name: str, rounds: int, seed: int) -> dict[str, list[float]]:
    """Seconds of every tool on one model, a list a tool; one warm-up each. A tool that fails is left out."""
    found = tools(name)
    seconds: dict[str, list[float]] = {}
    order = random.Random(seed)
    for turn in range(rounds + 1):
        for tool in order.sample(sorted(found), len(found)):
            gc.collect()
            begun = time.perf_counter()
            try:
                with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found[tool]()
            except Exception as error:  # noqa: BLE001  a peer that fails is told and left out
                print(f"{name}: {tool} failed: {type(error).__name__}: {str(error)[:80]}", flush=True)
                del found[tool]
                seconds.pop(tool, None)
                continue
            if turn:
                seconds.setdefault(tool, []).append(time.perf_counter() - begun)
    return seconds


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table: median milliseconds, and how many times longer than Stridewise, over the models."""
    names = [
        "stridewise",
        "meta forward",
        "CPU forward",
        "FlopCounterMode",
        "torchinfo",
        "fvcore",
        "ptflops",
        "torchscan",
    ]
    lines = [
        "| tool | models | median ms | times Stridewise's: median | least | most |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for tool in names:
        mine = [r for r in rows if tool in r["ms"]]
        if not mine:
            continue
        ratios = sorted(r["ms"][tool] / r["ms"]["stridewise"] for r in mine)
        ms = statistics.median(r["ms"][tool] for r in mine)
        middle = statistics.median(ratios)
        lines.append(f"| {tool} | {len(mine)} | {ms:.1f} | {middle:.2f} | {ratios[0]:.2f} | {ratios[-1]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Time every model and write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", type=int, default=len(MODELS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--go-on", action="store_true", help="keep the models that benchmarks/results holds already")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows: list[dict[str, Any]] = []
    text = ""
    done = Path(__file__).parent / "results" / "analysis.json"
    if asked.go_on and done.exists():
        rows = [json.loads(line) for line in done.read_text().splitlines()]
    for number, name in enumerate(MODELS[: asked.models]):
        if any(row["model"] == name for row in rows):
            continue
        seconds = timed(name, asked.rounds, number)
        ms = {tool: round(1e3 * statistics.median(t), 2) for tool, t in seconds.items()}
        spread = {tool: round(1e3 * (max(t) - min(t)), 2) for tool, t in seconds.items()}
        row = {"model": name, "rounds": asked.rounds, "threads": asked.threads, "ms": ms, "spread_ms": spread}
        rows.append(row)
        print(json.dumps(row), flush=True)
        text = kept(rows, asked)
    print(text)


def kept(rows: list[dict[str, Any]], asked: argparse.Namespace) -> str:
    """The table so far, written to benchmarks/results/ after every model: an interrupted run leaves its part."""
    conditions = f"{asked.rounds} rounds, {asked.threads} threads, torch {torch.__version__}, {platform.machine()}"
    command = f"`python benchmarks/analysis.py --rounds {asked.rounds} --threads {asked.threads}`"
    text = f"{command}: {len(rows)} models, {conditions}\n\n{table(rows)}\n"
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "analysis.md").write_text(text)
    (results / "analysis.json").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return text


if __name__ == "__main__":
    main()
