"""What opens: detectors, transformers, segmentation, volumes, tokens, sound and video, source by source.

    python benchmarks/reach.py [SOURCE ...] [--only WORD]      a line a network in benchmarks/results/reach.jsonl
    python benchmarks/reach.py table                           benchmarks/results/reach.md from it

Needs the extra `reach`; ultralytics is under the AGPL and is used here as the user installed it. Weights are random,
those near zero drawn anew: nothing is downloaded. A network is opened at its first size; plans of output stride 16 and
8 with kept weights are made and carried out on float64 copies, and a signal runs through old and new at two sizes.
Every tensor that a module gave out is compared on the positions both have: "exact" is a relative difference of at most
1e-4 for all of them, else the first module that differs is named. A network that is drawn already is not drawn again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import logging
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import stridewise as sw
from stridewise.errors import PlanError, StridewiseError
from stridewise.models.zoo import declare_missing_ops
from stridewise.surgery.verify import randomise

HERE = Path(__file__).parent / "results"
RECORDS = Path(os.environ.get("STRIDEWISE_REACH_RECORDS", HERE / "reach.jsonl"))
EXACT = 1e-4
CAPS = (16, 8)
Shape = tuple[int, ...]
Spec = Shape | dict[str, Any]
Network = tuple[str, Callable[[], nn.Module], tuple[Spec, Spec]]


def square(first: int, second: tuple[int, int]) -> tuple[Shape, Shape]:
    """Two sizes of pictures."""
    return (3, first, first), (3, *second)


def ultralytics() -> Iterator[Network]:
    from ultralytics.nn.tasks import DetectionModel, PoseModel, SegmentationModel

    sizes = square(320, (256, 416))
    for name in "yolov3-tiny yolov5n yolov8n yolov8n-p2 yolov8n-p6 yolov10n yolo11n yolo12n yolo26n".split():
        own = square(320, (256, 448)) if name.endswith("-p6") else sizes  # which takes multiples of 64
        yield name, lambda name=name: DetectionModel(f"{name}.yaml", verbose=False), own
    yield "yolov8n-seg", lambda: SegmentationModel("yolov8n-seg.yaml", verbose=False), sizes
    yield "yolov8n-pose", lambda: PoseModel("yolov8n-pose.yaml", verbose=False), sizes


def torchvision_detectors() -> Iterator[Network]:
    from torchvision.models import detection
    from torchvision.ops import boxes, poolers

    for module in (boxes, sys.modules[poolers.roi_align.__module__]):  # a compiled op that is missing says so itself
        module._assert_has_ops = lambda: None
    for name in "fasterrcnn_resnet50_fpn retinanet_resnet50_fpn fcos_resnet50_fpn keypointrcnn_resnet50_fpn".split():
        make = getattr(detection, name)
        yield (
            name,
            lambda make=make: make(weights=None, weights_backbone=None, min_size=320, max_size=416),
            square(320, (320, 416)),
        )
    yield "ssd300_vgg16", lambda: detection.ssd300_vgg16(weights=None, weights_backbone=None), square(300, (300, 300))


def transformers_detectors() -> Iterator[Network]:
    import transformers as hf

    few = {"encoder_layers": 1, "decoder_layers": 1}
    detr = {"use_pretrained_backbone": False, "use_timm_backbone": True, "backbone": "resnet50"}
    yield "DETR", lambda: hf.DetrForObjectDetection(hf.DetrConfig(**few, **detr)), square(320, (256, 416))
    yield "RT-DETR", lambda: hf.RTDetrForObjectDetection(hf.RTDetrConfig(decoder_layers=1)), square(320, (256, 416))
    yield "D-FINE", lambda: hf.DFineForObjectDetection(hf.DFineConfig(decoder_layers=1)), square(320, (256, 416))
    yolos = hf.YolosConfig(num_hidden_layers=2, image_size=[256, 384])
    yield "YOLOS", lambda: hf.YolosForObjectDetection(yolos), ((3, 256, 384), (3, 256, 416))


def transformers_backbones() -> Iterator[Network]:
    import transformers as hf

    small = square(224, (224, 224))
    any_size = square(224, (160, 288))
    for name, config, sizes in [
        ("ResNet", "ResNetConfig", any_size),
        ("RegNet", "RegNetConfig", any_size),
        ("ConvNeXt", "ConvNextConfig", any_size),
        ("SegFormer", "SegformerConfig", any_size),
        ("PoolFormer", "PoolFormerConfig", any_size),
        ("BiT", "BitConfig", any_size),
        ("CvT", "CvtConfig", any_size),
        ("Swin", "SwinConfig", any_size),
        ("LeViT", "LevitConfig", small),
        ("MobileNetV2", "MobileNetV2Config", any_size),
        ("EfficientNet", "EfficientNetConfig", any_size),
        ("MobileViT", "MobileViTConfig", square(256, (256, 256))),
        ("ViT", "ViTConfig", small),
        ("DINOv2", "Dinov2Config", small),
    ]:
        yield name, lambda config=config: hf.AutoModel.from_config(getattr(hf, config)()), sizes


def segmentation_models() -> Iterator[Network]:
    import segmentation_models_pytorch as smp

    for kind in "Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet".split():
        make = getattr(smp, kind)
        yield f"{kind} resnet18", lambda make=make: make("resnet18", encoder_weights=None), square(128, (96, 160))


def monai() -> Iterator[Network]:
    from monai.networks import nets

    flat = ((1, 64, 64), (1, 64, 96))
    deep = ((1, 32, 32, 32), (1, 32, 48, 32))
    steps: dict[str, Any] = {"channels": (8, 16, 32), "strides": (2, 2)}
    three: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
    two = {**three, "spatial_dims": 2}
    yield "UNet 2-D", lambda: nets.UNet(**two, **steps), flat
    yield "UNet 3-D", lambda: nets.UNet(**three, **steps, num_res_units=2), deep
    yield "BasicUNet", lambda: nets.BasicUNet(**two, features=(8, 8, 16, 32, 64, 8)), flat
    kernels: dict[str, Any] = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    yield "DynUNet 3-D", lambda: nets.DynUNet(**three, **kernels, filters=[8, 16, 32]), deep
    yield "SegResNet 3-D", lambda: nets.SegResNet(**three, init_filters=8), deep
    yield "VNet", lambda: nets.VNet(**three), deep
    yield "AttentionUnet", lambda: nets.AttentionUnet(**two, **steps), flat
    yield "DenseNet121", lambda: nets.DenseNet121(spatial_dims=2, in_channels=1, out_channels=2), flat


VITS = """vit_tiny_patch16_224 vit_small_patch32_224 vit_small_patch14_dinov2 vit_small_patch16_dinov3
deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 beit_base_patch16_224 cait_xxs24_224 xcit_nano_12_p16_224
convit_tiny swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 pit_ti_224 levit_128s twins_pcpvt_small pvt_v2_b0
hiera_tiny_224 mvitv2_tiny eva02_tiny_patch14_224 crossvit_tiny_240"""


def timm_tokens() -> Iterator[Network]:
    import timm

    for name in VITS.split():
        size = timm.models.get_pretrained_cfg(name).input_size
        yield name, lambda name=name: timm.create_model(name), (size, size)


def sound_and_video() -> Iterator[Network]:
    import transformers as hf
    from diffusers import UNet2DModel

    few: dict[str, Any] = {"num_hidden_layers": 2}
    yield "wav2vec2", lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**few)), ((16000,), (24000,))
    yield "HuBERT", lambda: hf.HubertModel(hf.HubertConfig(**few)), ((16000,), (24000,))
    yield "AST", lambda: hf.ASTModel(hf.ASTConfig(**few)), ((1024, 128), (1024, 128))
    yield "VideoMAE", lambda: hf.VideoMAEModel(hf.VideoMAEConfig(**few)), ((16, 3, 224, 224), (16, 3, 224, 224))
    yield "EnCodec", lambda: hf.EncodecModel(hf.EncodecConfig()), ((1, 24000), (1, 48000))
    blocks: dict[str, Any] = {"block_out_channels": (32, 64, 64), "layers_per_block": 1, "norm_num_groups": 8}
    blocks |= {"down_block_types": ["DownBlock2D"] * 3, "up_block_types": ["UpBlock2D"] * 3}
    yield (
        "U-Net of diffusers",
        lambda: UNet2DModel(**blocks),
        ({"sample": (3, 64, 64), "timestep": ()}, {"sample": (3, 64, 96), "timestep": ()}),
    )


SOURCES: dict[str, Callable[[], Iterator[Network]]] = {
    "ultralytics": ultralytics,
    "torchvision detectors": torchvision_detectors,
    "transformers detectors": transformers_detectors,
    "transformers backbones": transformers_backbones,
    "segmentation_models_pytorch": segmentation_models,
    "MONAI": monai,
    "timm tokens": timm_tokens,
    "sound and video": sound_and_video,
}


def opened(make: Callable[[], nn.Module], size: Spec) -> tuple[nn.Module, sw.Graph, dict[str, Any]]:
    """The network, its graph and what opening it said; CPU milliseconds from the live model to the finished report."""
    torch.manual_seed(0)
    model = make().eval()
    spent = []
    for _ in range(2):  # the second without what torch looks up once
        start = time.process_time()
        graph = sw.trace(model, size)
        report = sw.show(graph).to_json()
        spent.append(1000 * (time.process_time() - start))
    strides = dict.fromkeys(str(o["cumulative_stride"][0]) for o in report["outputs"] if o["cumulative_stride"])
    found = {"opens": True, "ms": round(min(spent), 1), "unknown": len(report["unknown"]), "strides": [*strides]}
    return model, graph, found | {"end": graph.end and graph.end.where}


def planned(model: nn.Module, graph: sw.Graph, cap: int, sizes: tuple[Spec, Spec]) -> dict[str, Any]:
    """What becomes of output stride `cap` with kept weights: refused by the plan, failed on the way, or carried out."""
    axes = graph.grids[0].sizes if graph.last is None else graph.grids[graph.tensors[graph.last].grid or 0].sizes
    try:
        plan = sw.plan(graph, output_stride=(cap,) * len(axes), keep_weights=True)
    except PlanError as error:
        return {"verdict": "refused", "why": str(error)}
    if not plan.sites and not plan.insert:
        return {"verdict": "nothing to do"}
    for size in dict.fromkeys(map(repr, sizes)):
        spec = next(s for s in sizes if repr(s) == size)
        try:
            worst, first, certificate = compared(model, plan, spec)
        except Exception as error:  # noqa: BLE001  whatever it is, the plan promised that it would work
            return {"verdict": "failed", "why": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
        if worst > EXACT:
            return {"verdict": "applied", "worst": worst, "first": first, "certificate": certificate}
    return {"verdict": "exact", "worst": worst, "certificate": certificate}


def compared(model: nn.Module, plan: sw.Plan, size: Spec) -> tuple[float, str, str]:
    """(largest relative difference, first module beyond `EXACT`, certificate) of a plan under a live signal."""
    twin = copy.deepcopy(model).double().eval()
    randomise(twin)
    named: Mapping[str, Any] = size if isinstance(size, dict) else {"": size}
    draw = torch.Generator().manual_seed(1)
    given = {
        k: torch.rand(1, *s, generator=draw, dtype=torch.float64) if s else torch.tensor(1.0) for k, s in named.items()
    }
    before = said(twin, given)
    done = sw.apply(twin, plan, input=size)
    after = said(twin, given)
    worst, first = 0.0, ""
    for key, old in before.items():
        off = differs(old, after.get(key))
        if off is not None and off > EXACT and not first:
            first = key
        worst = max(worst, off or 0.0)
    return worst, first, str(done.certificate).splitlines()[0] if done.certificate else ""


def said(model: nn.Module, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What every module gives out, by its path and call; until a detector's compiled ops are missed."""
    found: dict[str, torch.Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, out: Any) -> None:
            if isinstance(out, torch.Tensor) and out.is_floating_point():
                call = sum(key.partition("#")[0] == path for key in found)
                found[f"{path}#{call + 1}"] = out.clone()

        return hook

    hooks = [m.register_forward_hook(keep(path)) for path, m in model.named_modules()]
    try:
        with torch.no_grad(), contextlib.suppress(NotImplementedError):
            model(given[""]) if "" in given else model(**given)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def differs(old: torch.Tensor, new: torch.Tensor | None) -> float | None:
    """The relative difference on the positions that both have; None where no step leads from one to the other."""
    if new is None or new.dim() != old.dim() or all(n == 1 for n in old.shape[2:]):
        return None  # a mean over all positions, of which a finer map has more
    steps = [-(-n // m) if m else 1 for n, m in zip(new.shape, old.shape, strict=True)]
    same = new[tuple(slice(None, None, s) for s in steps)]
    if same.shape != old.shape:
        return None
    return float((same - old).abs().max() / old.abs().max().clamp_min(1e-30))


def run(sources: list[str], only: str) -> None:
    """Draw what is not drawn yet."""
    HERE.mkdir(exist_ok=True)
    there = {(r["source"], r["name"]) for r in records()}
    for source in sources:
        for name, make, sizes in SOURCES[source]():
            if (source, name) in there or only not in name:
                continue
            row: dict[str, Any] = {"source": source, "name": name}
            try:
                model, graph, found = opened(make, sizes[0])
                row |= found
            except Exception as error:  # noqa: BLE001  any failure to open is a row of the table
                row |= {"opens": False, "why": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
            else:
                for cap in CAPS:
                    row[str(cap)] = planned(model, graph, cap, sizes)
            with RECORDS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), file=sys.stderr)


def records() -> list[dict[str, Any]]:
    """What was drawn so far."""
    return [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []


def table() -> str:
    """The page."""
    rows = records()
    out = ["# What opens", "", "Written by `python benchmarks/reach.py` and `python benchmarks/reach.py table`;"]
    out[-1] += f" torch {torch.__version__}, one thread."
    out += [
        "",
        "| source | networks | open | median CPU ms | with unknown ops | os 16: refused / failed / applied / exact |",
    ]
    out[-1] += " os 8: refused / failed / applied / exact |"
    out += ["| --- | ---: | ---: | ---: | ---: | --- | --- |"]
    for source in SOURCES:
        mine = [r for r in rows if r["source"] == source]
        good = [r for r in mine if r["opens"]]
        spent = sorted(r["ms"] for r in good)
        middle = f"{spent[len(spent) // 2]:.0f}" if spent else ""
        counts = [Counter(r[str(cap)]["verdict"] for r in good) for cap in CAPS]
        both = [" / ".join(str(c[v]) for v in ("refused", "failed", "applied", "exact")) for c in counts]
        both = [
            b + (f", {c['nothing to do']} coarse enough" if c["nothing to do"] else "")
            for b, c in zip(both, counts, strict=True)
        ]
        unknown = sum(r["unknown"] > 0 for r in good)
        out += [f"| {source} | {len(mine)} | {len(good)} | {middle} | {unknown} | {both[0]} | {both[1]} |"]
    out += [
        "",
        "| network | CPU ms | strides of its outputs | ends at | os 16 | os 8 |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    for r in rows:
        if r["opens"]:
            strides = ", ".join(r["strides"])
            out += [f"| {r['name']} | {r['ms']} | {strides} | {r['end'] or ''} | {cell(r['16'])} | {cell(r['8'])} |"]
        else:
            out += [f"| {r['name']} | | does not open: {r['why']} | | | |"]
    return "\n".join(out) + "\n"


def cell(found: Mapping[str, Any]) -> str:
    """One plan's verdict in words."""
    if found["verdict"] == "exact":
        return f"exact ({found['worst']:.0e})"
    if found["verdict"] == "applied":
        return f"applied, differs from `{found['first']}` on"
    return f"{found['verdict']}{': ' + found['why'] if 'why' in found else ''}".replace("|", "/")


def main() -> None:
    """Parse, draw, print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    declare_missing_ops()
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=f"{', '.join(SOURCES)}, or table")
    parser.add_argument("--only", default="", help="networks with this in their name")
    options = parser.parse_args()
    if options.sources == ["table"]:
        (HERE / "reach.md").write_text(table())
        return
    run(options.sources or [*SOURCES], options.only)


if __name__ == "__main__":
    with contextlib.suppress(StridewiseError):
        main()
