"""Detectors, transformers, segmentation, volumes, sound and video (`make zoo`): what opens, and with which strides.

The networks are those that `benchmarks/reach.py` draws; a library that is not installed is skipped.
"""

import importlib.util
from pathlib import Path

import pytest
import torch

import stridewise as sw
from stridewise.errors import PlanError
from stridewise.models.zoo import declare_missing_ops

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]

_FILE = Path(__file__).parents[2] / "benchmarks" / "reach.py"
_spec = importlib.util.spec_from_file_location("reach_drawn", _FILE)
reach = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reach)

LIBRARIES = {
    "ultralytics": "ultralytics",
    "torchvision detectors": "torchvision",
    "transformers detectors": "transformers",
    "transformers backbones": "transformers",
    "segmentation_models_pytorch": "segmentation_models_pytorch",
    "MONAI": "monai",
    "timm tokens": "timm",
    "sound and video": "transformers",
}


@pytest.mark.parametrize("source", LIBRARIES)
def test_every_network_opens(source):
    declare_missing_ops()
    pytest.importorskip(LIBRARIES[source])
    closed = {}
    for name, make, sizes in reach.SOURCES[source]():
        try:
            report = sw.show(sw.trace(make().eval(), sizes[0]))
        except sw.StridewiseError as error:
            closed[name] = str(error)
        else:
            assert report.layers
    assert closed == {}


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n-p2", "yolo11n", "yolo26n"])
def test_levels_of_ultralytics_move_with_their_declared_strides(name):
    declare_missing_ops()
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    torch.manual_seed(0)
    model = tasks.DetectionModel(f"{name}.yaml", verbose=False).eval()
    graph = sw.trace(model, (3, 256, 256))
    stated = [int(s) for s in model.stride]
    assert {o["cumulative_stride"][0] for o in sw.show(graph).to_json()["outputs"] if o["cumulative_stride"]} == {
        *stated
    }
    assert not [f for f in sw.check(graph) if f.rule == "SW201"]
    done = sw.apply(model, sw.plan(graph, output_stride=16, keep_weights=True))
    assert [int(s) for s in model.stride] == [min(s, 16) for s in stated]
    again = sw.trace(model, (3, 256, 256))
    assert not [f for f in sw.check(again) if f.rule == "SW201"]
    done.undo()
    assert [int(s) for s in model.stride] == stated


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "ssd300_vgg16"])
def test_detectors_of_torchvision_open_at_any_picture_and_keep_their_weights(name):
    declare_missing_ops()
    pytest.importorskip("torchvision")
    model, sizes = next((make(), sizes) for n, make, sizes in reach.torchvision_detectors() if n == name)
    model.eval()
    wide = sw.trace(model, (3, 240, 330))
    assert len(wide.outputs) > 4
    assert ("another trace" in "".join(sw.sizes(wide).disproved)) == (name != "ssd300_vgg16")
    found = reach.planned(model, sw.trace(model, sizes[0]), 8, sizes)
    assert found["verdict"] == "exact", found


@pytest.mark.parametrize("name", reach.VITS.split())
def test_patches_take_another_step_or_the_plan_says_why_not(name):
    declare_missing_ops()
    timm = pytest.importorskip("timm")
    model = timm.create_model(name).eval()
    size = timm.models.get_pretrained_cfg(name).input_size
    graph = sw.trace(model, size)
    site = next(n for n in graph.sites if any(getattr(m, "stride", 1) > 1 for m in n.attrs["maps"]))
    steps = [m.stride for m in site.attrs["maps"]]
    try:
        plan = sw.plan(graph, {site.key: tuple(max(s // 2, 1) for s in steps)})
    except PlanError as error:
        assert len(str(error).splitlines()) == 1
        return
    sw.apply(model, plan)
    with torch.no_grad():
        model(torch.rand(1, *size))
