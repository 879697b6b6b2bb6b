"""The 36 published placements of two steps in ResNet-20: the front is the one that comparing their costs gives."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from stridewise.fronts.front import front
from stridewise.models.builtin import build
from stridewise.tracing.trace import trace

TABLE = Path(os.environ.get("STRIDEWISE_TRUTH", "")) / "resnet20_cifar10_pooling.csv"
CHANNELS = [16] * 4 + [32] * 3 + [64] * 3


def computed(layers: tuple[int, int, int]) -> int:
    """Elements computed by convolutions and the classifier when so many layers see 32, 16 and 8 positions an axis."""
    sizes = [size for size, count in zip((32, 16, 8), layers, strict=True) for _ in range(count)]
    total = 10
    for at, (size, channels) in enumerate(zip(sizes, CHANNELS, strict=True)):
        grows = at > 0 and CHANNELS[at - 1] != channels
        total += size * size * channels * (1 if at == 0 else 3 if grows else 2)
    return total


@pytest.mark.skipif(not TABLE.is_file(), reason="STRIDEWISE_TRUTH names no folder with the published table")
def test_front_of_the_published_placements() -> None:
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    table = {}
    for row in rows:
        before = frozenset(int(n) for n in row["downsample_before_layer"].split())
        layers = tuple(int(row[f"layers_at_{size}"]) for size in (32, 16, 8))
        table[before] = (int(row["macs"]), computed(layers))
    graph = trace(build("resnet20"), (3, 32, 32))
    slots = [f"+{slot.key}" for slot in graph.slots]
    assert len(slots) == 9
    points = front(graph, sites=slots, output_stride=4).points
    mine = {(p.macs, p.activations) for p in points}
    assert mine <= set(table.values())

    def alone(found: set[tuple[int, int]]) -> set[tuple[int, int]]:
        return {(m, a) for m, a in found if not any(x <= m and y >= a and (x, y) != (m, a) for x, y in found)}

    assert alone(mine) == alone(set(table.values()))
    assert len(alone(mine)) > 5
    for point in points:
        steps = {slot.key: slot.stride[0] for slot in graph.slots}
        steps.update({key: s.stride[0] for key, s in point.plan.insert.items()})
        before = frozenset(int(key.rsplit(".", 1)[1]) + 1 for key, step in steps.items() if step == 2)
        assert table[before] == (point.macs, point.activations)
