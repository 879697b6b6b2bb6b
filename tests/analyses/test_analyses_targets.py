"""Targets: every file is read, every limit has a source and can be broken; findings name limit and source."""

import pytest
from analysis_nets import chain
from torch import nn

from stridewise.analyses.findings import check
from stridewise.analyses.targets import target_names, target_of
from stridewise.errors import UsageError
from stridewise.tracing.trace import trace


@pytest.mark.parametrize("name", target_names())
def test_every_target_is_read_and_says_where_its_limits_are_written(name):
    target = target_of(name)
    assert target.name == name
    assert target.about
    assert target.limits or target.memory
    assert all(limit.source for limit in target.limits)


@pytest.mark.parametrize(
    ("name", "layer", "rule", "words"),
    [
        ("ethos-u55", nn.Conv2d(3, 4, 5, 5), "SW401", "0: stride 5, and ethos-u55 takes at most 4 (Vela"),
        ("ethos-u55", nn.Conv2d(3, 3, 5, 4, groups=3), "SW401", "stride 4, and ethos-u55 takes at most 3"),
        ("ethos-u55", nn.Conv2d(3, 4, 33, dilation=2), "SW401", "span 65"),
        ("ethos-u55", nn.AvgPool2d(9, 2, 4), "SW401", "kernel 9"),
        ("edge-tpu", nn.Conv2d(3, 4, 3, dilation=(1, 2)), "SW401", "dilation 1x2, and edge-tpu takes the same"),
        ("rknn", nn.ConvTranspose2d(3, 4, 3, 3), "SW401", "stride 3, and rknn takes one of 2, 4, 8"),
        ("rknn", nn.MaxPool2d(3, 2, ceil_mode=True), "SW401", "ceil mode 1"),
        ("hls4ml", nn.MaxPool2d(3, 2, dilation=2), "SW401", "dilation 2"),
        ("artpec-9", nn.Conv2d(3, 4, 4), "SW401", "kernel 4"),
        ("artpec-9", nn.Conv2d(3, 4, 3, (1, 2)), "SW401", "stride 1x2"),
        ("dpuczdx8g", nn.Conv2d(3, 4, 17), "SW401", "kernel 17"),
        ("cmsis-nn-256k", nn.Conv2d(3, 32, 3, 1, 1), "SW403", "bytes of maps are alive at once"),
    ],
)
def test_a_broken_limit_is_found_with_its_source(name, layer, rule, words):
    graph = trace(chain(layer), (3, 96, 96))
    found = [f.message for f in check(graph, target=name) if f.rule == rule]
    assert any(words in message for message in found), found
    assert not [f for f in check(graph) if f.rule.startswith("SW4")]


@pytest.mark.parametrize("name", target_names())
def test_a_modest_layer_breaks_nothing(name):
    graph = trace(chain(nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2)), (3, 64, 64))
    assert not [f for f in check(graph, target=name) if f.rule.startswith("SW4")]


def test_memory_is_counted_in_the_targets_own_bytes():
    """3 + 32 channels of 96 x 96 bytes: what goes in and what comes out."""
    graph = trace(chain(nn.Conv2d(3, 32, 3, 1, 1)), (3, 96, 96))
    (found,) = [f for f in check(graph, target="cmsis-nn-256k") if f.rule == "SW403"]
    assert f"{35 * 96 * 96:,} bytes" in found.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[limit]]\nops = ['conv']\nwhat = 'stride'\nmax = 2\nsource = 'me'\n", ""),
        ("name = 'x'\nspeed = 3", "unknown key 'speed'"),
        ("[[limit]]\nops = ['conv']\nwhat = 'stride'\nmost = 2\nsource = 'me'", "limit 1: unknown key 'most'"),
        ("[[limit]]\nops = ['conv']\nwhat = 'speed'\nmax = 2\nsource = 'me'", "what is one of stride"),
        ("[[limit]]\nops = ['conv']\nwhat = 'stride'\nmax = 2", "source: where this limit is written"),
        ("[[limit]]\nops = ['conv']\nwhat = 'stride'\nsource = 'me'", "limits nothing"),
        ("[[limit]]\nops = ['conv']\nwhat = 'stride'\nmax = 1.5\nsource = 'me'", "whole numbers from 0"),
        ("[[limit", "not TOML"),
    ],
)
def test_ones_own_file_is_read_or_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    if not words:
        graph = trace(chain(nn.Conv2d(3, 4, 3, 3)), (3, 32, 32))
        assert [f.key for f in check(graph, target=str(path)) if f.rule == "SW401"] == ["0"]
        return
    with pytest.raises(UsageError, match=words) as error:
        target_of(str(path))
    assert "\n" not in str(error.value)


def test_a_name_that_is_none_names_the_near_ones():
    with pytest.raises(UsageError, match="no target 'ethos-u5': did you mean ethos-u55"):
        target_of("ethos-u5")
