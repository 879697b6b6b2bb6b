"""The published table of all 36 placements is 36 plans of builtin:resnet20 (truth/resnet20_cifar10_pooling.csv)."""

import csv
import os
from pathlib import Path

import pytest

from stridewise.analyses import cost
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import LoadError
from stridewise.models.builtin import ResNet20, build
from stridewise.rewrites.completion import make_plan
from stridewise.rewrites.restride import restride
from stridewise.tracing.trace import trace

TRUTH = os.environ.get("STRIDEWISE_TRUTH")


def numbers(graph):
    sizes = grid_sizes(graph)
    return cost.macs(graph, sizes), cost.activations(graph, sizes), cost.peak_bytes(graph, sizes)


def test_slots_stand_before_layers_1_to_9():
    graph = trace(build("resnet20"), (3, 32, 32))
    assert [s.key for s in graph.slots] == [f"layers.{i}" for i in range(9)]
    assert {s.key: s.stride for s in graph.slots if s.stride != (1, 1)} == {"layers.3": (2, 2), "layers.6": (2, 2)}
    assert numbers(graph)[0] == 40_813_184  # the published default, 4,3,3


@pytest.mark.skipif(not TRUTH, reason="STRIDEWISE_TRUTH is not set")
def test_every_row_is_a_plan_and_equals_the_retrace():
    graph = trace(build("resnet20"), (3, 32, 32), name="builtin:resnet20")
    with (Path(TRUTH) / "resnet20_cifar10_pooling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    for row in rows:
        first, second = map(int, row["downsample_before_layer"].split())
        wanted = {f"+layers.{i}": 2 if i + 1 in (first, second) else 1 for i in range(9)}
        planned = restride(graph, make_plan(graph, wanted)).graph
        assert numbers(planned)[0] == int(row["macs"])
        assert numbers(planned) == numbers(trace(ResNet20(steps=(first, second)), (3, 32, 32)))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(LoadError, match="resnet20-narrow"):
        build("resnet21")
