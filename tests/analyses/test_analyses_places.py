"""Cells and pixels against gradients, published centres; lengths against the network run at each."""

import numpy as np
import pytest
import torch
from analysis_nets import Fn, chain, positive, zoo
from test_analyses_inputs import fpn
from torch import nn

import stridewise as sw
from strategies import network
from stridewise.cli import main
from stridewise.errors import GeometryError, StridewiseError, UsageError
from stridewise.tracing.trace import trace

NETS = {
    "padded": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 5, 3, 1)),
    "transposed": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3)),
    "resized": lambda: chain(nn.Conv2d(3, 4, 3, 2, 1), nn.Upsample(scale_factor=4), nn.Conv2d(4, 4, 3, 1, 1)),
    "linear": lambda: chain(nn.AvgPool2d(4), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(3, 4, 1)),
    "fpn": fpn,
}


def reads(net: nn.Module, at: tuple[int, ...], size: tuple[int, ...]) -> list[tuple[int, int]]:
    x = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    positive(net)(x)[(0, 0, *at)].backward()
    hit = (x.grad[0].abs().sum(0) > 0).nonzero()
    return [(int(hit[:, a].min()), int(hit[:, a].max())) for a in range(hit.shape[1])]


@pytest.mark.parametrize("name", list(NETS))
def test_boxes_are_where_gradients_land(name):
    net, size = NETS[name](), (32, 48)
    graph = trace(net, (3, *size))
    count = graph.grids[graph.tensors[graph.last].grid].sizes
    points = [(r, c) for r in range(0, count[0], 3) for c in (0, 1, 2, 3, count[1] - 1)]
    found = sw.map_points(graph, "", points)
    for point, box in zip(points, found.boxes, strict=True):
        clipped = [(max(first, 0), min(last, n - 1)) for (first, last), n in zip(box, size, strict=True)]
        assert clipped == reads(net, point, size)


@pytest.mark.parametrize("name", list(NETS))
def test_cells_that_see_a_pixel_are_those_whose_boxes_hold_it(name):
    graph = trace(NETS[name](), (3, 32, 48))
    count = graph.grids[graph.tensors[graph.last].grid].sizes
    boxes = [[sw.map_points(graph, "", (i, i)).boxes[0][0] for i in range(count[0])]]
    for pixel in range(32):
        see = [i for i, box in enumerate(boxes[0]) if box and box[0] <= pixel <= box[1]]
        found = sw.map_points(graph, "", np.array([[pixel, 0]]), to="cells").boxes[0][0]
        assert found == ((see[0], see[-1]) if see else None)


def test_published_centres_lie_beside_the_real_ones():
    graph = trace(zoo("resnet50"), (3, 256, 256))
    for layer, stride in (("layer2", 8), ("layer3", 16), ("layer4", 32)):
        grid = sw.cells(graph, layer)
        assert (grid.stride, grid.first) == ((stride, stride), (0, 0))
        assert grid.centres[1] == (0, stride)
        assert grid.off_corner == (0.5, 0.5)
        assert [float(n) for n in grid.off_middle] == [0.5 - stride / 2] * 2  # FCOS: floor(stride / 2) + x * stride
    detection = pytest.importorskip("torchvision.models.detection.anchor_utils")
    anchors = detection.AnchorGenerator(((32,),), ((1.0,),))
    boxes = anchors.grid_anchors([[32, 32]], [torch.tensor([8, 8])])[0]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2  # x, y
    mine = np.asarray(sw.cells(graph, "layer2").centres)[:, ::-1] + 0.5  # in their coordinates pixel 0 ends at 1
    assert np.allclose(mine - centres.numpy(), float(sw.cells(graph, "layer2").off_corner[0]))


def test_a_cell_outside_and_a_layer_that_is_not_there_are_refused():
    graph = trace(NETS["padded"](), (3, 32, 48))
    for ask, words in (
        (lambda: sw.map_points(graph, "", (99, 0)), "cell 99x0 lies outside"),
        (lambda: sw.map_points(graph, "", (1,)), "a cell is 2 whole numbers"),
        (lambda: sw.map_points(graph, "2", (0, 0)), "no layer '2'"),
        (lambda: sw.map_points(graph, "", (0, 0), to="boxes"), "to='pixels'"),
        (lambda: sw.cells(graph, "", (0, 5)), "2 sizes from 1"),
        (lambda: sw.out_size(graph, "", [1.5]), "whole numbers"),
        (lambda: sw.out_size(graph, "", [20], axis=2), "axis 2"),
    ):
        with pytest.raises(UsageError, match=words):
            ask()


def wav2vec2() -> nn.Module:
    """The feature encoder of Baevski et al. 2020, arXiv:2006.11477, 4.2: kernels and strides."""
    shapes = [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]
    return nn.Sequential(*(nn.Conv1d(1 if not i else 2, 2, k, s) for i, (k, s) in enumerate(shapes)))


def test_frames_of_a_clip_are_those_that_the_network_gives():
    net = wav2vec2()
    graph = trace(net, (1, 16000))
    lengths = [400, 719, 720, 16000, 250_000]
    real = [net(torch.zeros(1, 1, n)).shape[-1] for n in lengths]
    assert sw.out_size(graph, "", lengths) == real
    assert sw.out_size(graph, "", 16000) == 49
    for made in (sw.out_size(graph, "", torch.tensor([lengths])), sw.out_size(graph, "", np.array([lengths]))):
        assert made.tolist() == [real]
    rule = sw.out_size(graph)
    space: dict[str, object] = {}
    exec(rule.python, space)
    assert [space["out_length"](n) for n in lengths] == real
    assert rule.formula[0] == "n1 = floor((n - 10) / 5) + 1"
    with pytest.raises(GeometryError, match="does not run on 399 positions"):
        sw.out_size(graph, "", [399])


@pytest.mark.parametrize("seed", [1, 3, *range(7, 25, 2)])  # 5 cuts nothing at the size it was drawn for
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_lengths_of_drawn_networks_are_real(seed):
    drawn = network(seed)
    try:
        graph = trace(drawn.model, drawn.shape)
    except StridewiseError:
        pytest.skip("not traced at all")
    if graph.unknown or graph.last != graph.outputs[0]:
        pytest.skip("not followed to its end")
    allowed, rule = sw.sizes(graph).axes[0], sw.out_size(graph)
    space: dict[str, object] = {}
    exec(rule.python, space)
    for n in range(1, 40):
        if n in allowed:
            out = drawn.model(torch.zeros(1, drawn.shape[0], n, *drawn.shape[2:], dtype=torch.float64))
            assert rule(n) == space["out_length"](n) == out.shape[2], n


def test_the_first_map_of_ssd300():
    """SSD300's first map: 38 cells of step 8, from a pool that rounds up (75 to 38)."""
    pool = {"p3": nn.MaxPool2d(2, ceil_mode=True)}
    net = Fn(lambda m, x: m.p3(m.a(x)), a=nn.Conv2d(3, 4, 3, 4, 1), **pool)
    grid = sw.cells(trace(net, (3, 300, 300)))
    assert (grid.size, grid.stride) == ((38, 38), (8, 8))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "conv2"),
        (["--cell", "1x2"], "reads pixels"),
        (["--pixel", "9x9"], "cells that see it"),
        (["--lengths", "32,64"], "16,32"),
        (["--formula"], "def out_length(n):"),
        (["--cell", "1"], "a cell is 2 whole numbers"),
        (["--cell", "axb"], "as 3x4"),
        (["--cell", "1x2", "--formula"], "one question at a time"),
        (["--cell", "1x2", "--pixel", "2um"], "4, 8\n"),
        (["--pixel", "4x4", "--pixel", "2um"], "8, 8"),
        (["--pixel", "4x4", "--gsd", "0.5m"], "2, 2"),
        (["--gsd", "0.5m"], "field, m"),
        (["--pixel", "2um", "--gsd", "0.5m"], "one of them"),
        (["--pixel", "2furlong"], "no unit 'furlong'"),
        (["--formula", "--spacing", "1mm"], "count positions"),
    ],
)
def test_the_command_answers_one_question(capsys, tmp_path, argv, words):
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef f(): return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))\n"
    )
    with pytest.raises(SystemExit) as stop:
        main(["places", f"{tmp_path / 'net.py'}:f", "0", "--input", "3x32x32", *argv])
    out = capsys.readouterr()
    assert (stop.value.code == 0) == (out.err == "")
    assert words in out.out + out.err or not argv
