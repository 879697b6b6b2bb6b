"""A network's own filter on its layer's input: the same map as the network's, and words that are true of it."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from stridewise.claims import planted
from stridewise.cli import cli
from stridewise.convolution import slide
from stridewise.convolution.pattern import brightness, describe, strongest
from stridewise.errors import StridewiseError
from stridewise.measuring.own_filter import own_filter

LAYERS = {
    "plain": nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "grouped": nn.Conv2d(4, 6, 3, stride=2, groups=2),
    "depthwise": nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False),
    "reflect": nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"),
    "same": nn.Conv2d(4, 6, 2, padding="same"),
    "transposed": nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    "transposed apart": nn.ConvTranspose2d(4, 6, 2, stride=(3, 1), dilation=2),
    "transposed cut": nn.ConvTranspose2d(4, 6, 2, stride=2, padding=2),
}


def network(layer: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), layer).eval()


@pytest.mark.parametrize("kind", LAYERS)
def test_the_map_at_the_layers_own_step_is_the_networks(kind: str) -> None:
    net = network(LAYERS[kind])
    met = []
    net[2].register_forward_hook(lambda module, given, made: met.append(made[0, 5].detach().numpy()))
    shown = own_filter(net, "builtin:digit", "2", 5, input=(3, 17, 19))
    transposed = kind.startswith("transposed")
    own = next(one for one in shown.slides if transposed or one.stride == shown.stride)
    np.testing.assert_allclose(
        own.feature_map[0], met[-1].detach() if hasattr(met[-1], "detach") else met[-1], atol=1e-5
    )
    assert bool(shown.note) == transposed
    last = own.feature_map.size - 1
    assert next(own.steps(last)).value == pytest.approx(own.feature_map.flat[last])
    high, low = strongest(own)
    for answer, value in ((high, own.feature_map.max()), (low, own.feature_map.min())):
        assert answer.level + answer.pattern + answer.bias == pytest.approx(answer.value) == pytest.approx(value)
        assert sum(answer.by_channel) + answer.bias == pytest.approx(value)


def test_the_place_in_the_picture_is_the_middle_of_its_field() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 1, bias=False)).eval()
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[1].weight.fill_(1.0)
    picture = np.zeros((32, 32))
    picture[19:22, 7:10] = 1.0
    words = own_filter(net, picture, "1", 0, input=(1, 32, 32), strides=[1]).words
    assert "cell (10, 4)" in words[1]
    assert "row 20 and column 8 of the picture" in words[1]


def test_a_planted_pattern_is_found_at_its_place_and_lost_where_the_step_jumps_over_it() -> None:
    kernel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    picture = np.zeros((40, 40))
    picture[20:23, 13:16] += kernel
    shape, bright, dark, two, four, eight = brightness([slide(picture, kernel, stride=s) for s in (1, 2, (4, 13), 8)])
    assert shape == "the filter answers to an edge: brighter to the right"
    assert "cell (20, 13), +12, window rows 20 to 22 and columns 13 to 15" in bright
    assert "likeness +1.00" in bright
    assert "ReLU" in dark
    assert two.startswith("stride 2: the nearest window is 0 rows and 1 column off, ")
    assert four == "stride 4×13: cell (5, 1) stands at the same place, +12"
    assert eight.startswith(
        "stride 8: the step jumps over the place: the nearest window is 4 rows and 3 columns off, +0"
    )


def test_the_claim_of_the_planted_pattern() -> None:
    fine, broad = np.random.default_rng(1).normal(size=(3, 3)), np.outer(*[np.hanning(17)] * 2)
    for stride in (1, 2, 4, 8):
        assert planted(fine, stride)["under a window"] == pytest.approx(1.0, abs=0.05)
        assert planted(broad, min(stride, 4))["found"] == 1.0
    assert planted(fine, 8)["found"] < 0.4
    # of 8 phases 3, 4, 5 are read by no window of 3 taps on either side
    assert planted(fine, 8)["jumped over"] == pytest.approx(1 - (5 / 8) ** 2, abs=1e-3)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([[[1.0, 1, 1]] * 3], "the level: bright all over the window"),
        ([[[-1.0, 0, 1]] * 3], "an edge: brighter to the right"),
        ([[[1.0] * 3, [0] * 3, [-1] * 3]], "an edge: brighter up"),
        ([[[0, 1.0, 2], [-1, 0, 1], [-2, -1, 0]]], "an edge: brighter up and right"),
        ([[[0, -1.0, 0], [-1, 4, -1], [0, -1, 0]]], "a spot brighter than what is around it"),
        ([[[1.0, -1, 1, -1]] * 4], "stripes standing, 2 in the window's length"),
        ([[[0.0] * 3] * 3], "nothing, its weights are all zero"),
        ([[[0.0]], [[-3.0]], [[0.1]], [[0.2]]], "the smallest values, most in input channel 1 (99 % of its weight)"),
    ],
)
def test_a_filter_is_told_in_words(weight: list, words: str) -> None:
    assert describe(np.array(weight)).startswith(words)


@pytest.mark.parametrize(
    ("layer", "channel", "input", "strides", "told"),
    [
        ("1", 0, (3, 16, 16), (), "no layer '1' with a filter in net: take 0, 2"),
        ("nope", 0, (3, 16, 16), (), "no layer 'nope' with a filter in net: take 0, 2"),
        ("2", 6, (3, 16, 16), (), "2 has channels 0 to 5, not 6"),
        ("2", 0, (3, 16, 16), (40,), "stride 40 is larger than the layer's input: take at most"),
    ],
)
def test_what_is_not_there_is_one_line_that_names_what_is(layer, channel, input, strides, told) -> None:
    with pytest.raises(StridewiseError) as refusal:
        own_filter(
            network(LAYERS["grouped"]), "builtin:digit", layer, channel, input=input, name="net", strides=strides
        )
    assert told in str(refusal.value)


def test_layers_without_a_picture_are_refused() -> None:
    with pytest.raises(StridewiseError, match="no picture to show"):
        own_filter(nn.Conv1d(2, 2, 3), "builtin:digit", "", 0, input=(2, 30))
    with pytest.raises(StridewiseError, match="leave it out"):
        own_filter(network(LAYERS["transposed"]), "builtin:digit", "2", 0, input=(3, 16, 16), strides=(2,))


def test_the_command_says_what_is_bright(tmp_path) -> None:
    own = "builtin:resnet20-narrow:layers.1.conv1:2"
    ran = CliRunner().invoke(cli, ["slide", "builtin:digit", "--filter", own, "-o", str(tmp_path / "f.png")])
    assert ran.exit_code == 0, ran.output
    assert "brightest at stride 1: cell" in ran.stdout
    assert "its weights are random" in ran.stderr
    assert (tmp_path / "f.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--filter", "x"], "MODEL:LAYER:CHANNEL is wanted"),
        (["--filter", "builtin:resnet20:conv1:-1"], "MODEL:LAYER:CHANNEL is wanted"),
        (["--filter", "a:b:1", "--kernel", "box"], "--kernel: --filter takes the layer's own"),
        (["--weights", "w.pt"], "--weights: is for --filter"),
        (["--filter", "net.onnx:conv:1"], "the page shows its filters"),
    ],
)
def test_options_that_do_not_go_together_are_refused(refused, options: list[str], told: str) -> None:
    assert told in refused("slide", "builtin:digit", *options)[1]
