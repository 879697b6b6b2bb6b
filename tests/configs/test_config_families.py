"""What configs declare, against networks whose strides are known; each finding names the line of the file."""

import json

import pytest
from torch import nn

import stridewise as sw
from stridewise.analyses.findings import check
from stridewise.configs import read_declared
from stridewise.tracing.trace import trace

MM = """\
_base_ = ['./base.py']
levels = [4, 8]
model = dict(
    type='FasterRCNN',
    backbone=dict(
        type='ResNet', depth=50, num_stages=4, out_indices=(0, 1, 2, 3),
        strides=(1, 2, 2, {last}),
        dilations=(1, 1, 1, {dilation})),
    neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], num_outs=4),
    rpn_head=dict(
        anchor_generator=dict(type='AnchorGenerator', strides=levels + [2 ** 4, 32])),
    roi_head=dict(bbox_roi_extractor=dict(type='SingleRoIExtractor', featmap_strides=[4, 8, 16, {roi}])))
"""
BASE = "model = dict(backbone=dict(norm_cfg=dict(type='BN'), strides=(9, 9)), x=open)\nimport os\nos.abort()\n"

DETECTRON = """\
_BASE_: "base.yaml"
MODEL:
  RESNETS:
    OUT_FEATURES: ["res2", "res3", "res4", "res5"]
    RES5_DILATION: {dilation}
  FPN:
    IN_FEATURES: ["res2", "res3", "res4", "res5"]
  ANCHOR_GENERATOR:
    SIZES: [[32], [64], [128], [256], [512]]
  SEM_SEG_HEAD:
    COMMON_STRIDE: 4
"""

YOLO = """\
backbone:
  - [-1, 1, Conv, [64, 3, 2]] # 0-P1/2
  - [-1, 1, Conv, [128, 3, 2]] # 1-P2/4
  - [-1, 3, C2f, [128, True]]
  - [-1, 1, Conv, [256, 3, {step}]] # 3
head:
  - [-1, 1, nn.Upsample, [None, 2, "nearest"]]
  - [[-1, 2], 1, Concat, [1]]
  - [[5, 3], 1, Detect, [nc]]
"""


class Stages(nn.Module):
    """Maps of a stem of 4 and of stages with these steps and dilations."""

    def __init__(self, steps, dilations=(1, 1, 1, 1)):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 7, 4, 3)
        self.stages = nn.ModuleList(nn.Conv2d(4, 4, 3, s, d, d) for s, d in zip(steps, dilations, strict=True))

    def forward(self, x):
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


@pytest.fixture(scope="module")
def graph():
    return trace(Stages((1, 2, 2, 2)), (3, 64, 64))


def told(graph, path):
    return [(f.line, f.message.split(": ", 1)[1]) for f in check(graph, config=str(path)) if f.file]


def written(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_an_mmdetection_config_that_is_right_says_nothing(tmp_path, graph):
    written(tmp_path, "base.py", BASE)
    path = written(tmp_path, "faster.py", MM.format(last=2, dilation=1, roi=32))
    assert told(graph, path) == []
    declared = {d.name: [str(e[0]) for e in d.entries] for d in read_declared(str(path))}
    assert declared["model.backbone.strides"] == ["4", "8", "16", "32"]
    assert declared["model.rpn_head.anchor_generator.strides"] == ["4", "8", "16", "32"]


def test_an_mmdetection_config_that_is_wrong_is_told_by_line(tmp_path, graph):
    written(tmp_path, "base.py", BASE)
    path = written(tmp_path, "faster.py", MM.format(last=1, dilation=2, roi=64))
    found = told(graph, path)
    assert [line for line, _ in found] == [8, 12]
    assert found[0][1].startswith("model.backbone.dilations: declared dilation 2 is of no layer; the real ones: 1")
    assert "featmap_strides: declared stride 64 is not among the real ones: 4, 8, 16, 32" in found[1][1]
    dilated = trace(Stages((1, 2, 2, 1), (1, 1, 1, 2)), (3, 64, 64))
    assert [line for line, _ in told(dilated, path)] == [11, 12]  # anchors and boxes at 32 and 64, which are not there


def test_a_lone_backbone_stage_dilated_in_the_config_only(tmp_path, graph):
    text = "model = dict(backbone=dict(type='ResNetV1c', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)))\n"
    path = written(tmp_path, "seg.py", text)
    assert [m.split(":")[1].split(";")[0].strip() for _, m in told(graph, path)] == [
        "declared dilation 2 is of no layer",
        "declared dilation 4 is of no layer",
    ]


def test_a_config_by_read_base_and_by_attributes(tmp_path, graph):
    (tmp_path / "_base_").mkdir()
    written(tmp_path / "_base_", "net.py", "model = dict(bbox_head=dict(strides=[8, 16]), backbone=dict(type='X'))\n")
    text = "with read_base():\n    from ._base_.net import *\nx = 1\nmodel = dict(bbox_head=dict(strides=[8, 128]))\n"
    assert [line for line, _ in told(graph, written(tmp_path, "new.py", text))] == [4]


@pytest.mark.parametrize(("dilation", "lines"), [(1, [9]), (2, [5, 9])])
def test_a_detectron2_config(tmp_path, graph, dilation, lines):
    """Five sizes of anchors for four maps; with RES5_DILATION res5 lies at 16, which is there, its dilation is not."""
    written(tmp_path, "base.yaml", "MODEL: {META_ARCHITECTURE: RCNN}\n")
    path = written(tmp_path, "rcnn.yaml", DETECTRON.format(dilation=dilation))
    assert [line for line, _ in told(graph, path)] == lines
    entries = {d.name: [int(e[0]) for e in d.entries] for d in read_declared(str(path))}
    assert entries["MODEL.FPN.IN_FEATURES"] == [4, 8, 16, 32 if dilation == 1 else 16]


@pytest.mark.parametrize(("step", "stride"), [(2, [4, 8]), (1, [2, 4])])
def test_rows_of_ultralytics(tmp_path, step, stride):
    (one,) = read_declared(str(written(tmp_path, "yolo.yaml", YOLO.format(step=step))))
    assert [e[0] for e in one.entries] == stride
    assert (one.line, one.name) == (9, "head.Detect")


@pytest.mark.parametrize(
    ("facts", "strides"),
    [
        ({"model_type": "segformer", "strides": [4, 2, 2, 2]}, ["4", "8", "16", "32"]),
        ({"model_type": "wav2vec2", "conv_stride": [5, 2, 2, 2, 2, 2, 2]}, ["5", "10", "20", "40", "80", "160", "320"]),
        ({"model_type": "swin", "patch_size": 4, "depths": [2, 2, 6, 2]}, ["4", "8", "16", "32"]),
        ({"model_type": "vit", "patch_size": 16}, ["16"]),
        ({"model_type": "videomae", "patch_size": 16, "tubelet_size": 2}, ["2x16x16"]),
        ({"model_type": "encodec", "upsampling_ratios": [8, 5, 4, 2]}, ["2", "8", "40", "320"]),
        ({"model_type": "efficientnet", "strides": [1, 2, 2, 2, 1, 2, 1]}, ["2", "4", "8", "16", "32"]),
        ({"model_type": "regnet", "downsample_in_first_stage": True, "depths": [1] * 4}, ["4", "8", "16", "32"]),
        ({"model_type": "x", "backbone_config": {"model_type": "pvt", "strides": [4, 2]}}, ["4", "8"]),
    ],
)
def test_configs_of_transformers(tmp_path, facts, strides):
    path = written(tmp_path, "config.json", json.dumps({"model_type": "x", **facts}, indent=1))
    (one,) = read_declared(str(path))
    assert ["x".join(map(str, e)) for e in one.entries] == strides


def test_boxes_of_ssd(tmp_path):
    """SSD300's last steps, 100 and 300, are no strides of its maps: they are 300 / 3 and 300 / 1 (64 is real)."""
    text = "boxes = DefaultBoxGenerator([[2]] * 6, steps=[8, 16, 32, 64, 100, 300])\n"
    (one,) = read_declared(str(written(tmp_path, "ssd.py", text)))
    assert [int(e[0]) for e in one.entries] == [8, 16, 32, 64, 100, 300]

    class Ssd(nn.Module):
        def __init__(self):
            super().__init__()
            self.anchor_generator = nn.Module()
            self.anchor_generator.steps = [4, 100]
            self.net = Stages((1, 2, 2, 2))

        def forward(self, x):
            return self.net(x)[:2]

    found = [f.message for f in sw.check(trace(Ssd(), (3, 64, 64))) if f.rule == "SW201"]
    assert any("anchor_generator.steps: declared stride 100" in m for m in found), found


def test_rows_of_feature_info(tmp_path, graph):
    rows = [{"num_chs": 4, "reduction": 4, "module": "a"}, {"num_chs": 4, "reduction": 12, "module": "b"}]
    path = written(tmp_path, "info.json", json.dumps({"feature_info": rows}, indent=1))
    assert [line for line, _ in told(graph, path)] == [8]


def test_a_lazy_config_of_detectron2(tmp_path, graph):
    """Calls of calls, attributes and quotients, as its Python configs have them."""
    text = """\
from detectron2.config import LazyCall as L
model = L(GeneralizedRCNN)(
    proposal_generator=L(RPN)(
        anchor_generator=L(DefaultAnchorGenerator)(
            sizes=[[32], [64], [128], [256]], strides=[4, 8, 16, 32])),
    roi_heads=L(StandardROIHeads)(
        box_pooler=L(ROIPooler)(output_size=7, scales=(1.0 / 4, 1.0 / 8, 1.0 / 16, 1.0 / 64))))
model.proposal_generator.anchor_generator.strides = [4, 8, 16, 24]
"""
    found = told(graph, written(tmp_path, "lazy.py", text))
    assert [line for line, _ in found] == [8, 7]
    assert "stride 64 (one over its scales) is not among the real ones" in found[1][1]
