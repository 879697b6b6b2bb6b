"""Published figures and independent computations over the whole of torchvision and timm.

A sample runs always; `make zoo` runs every row.
"""

import pytest
import torch
from zoo_truth import NO_SITES, OTHER_CODE_AT_OTHER_SIZES, compared, every, exists, graph_of, needs_truth, rows

from stridewise.analyses.cost import activations, macs
from stridewise.analyses.fields import fields
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import TraceError

pytestmark = needs_truth


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("row", every(rows("timm_activations.csv"), 16, lambda r: f"{r['model']}-{r['img_size']}"))
def test_activations_are_timms_to_both_printed_decimals(row):
    if not exists(row["model"]):
        pytest.skip("gone from timm")
    size = int(row["img_size"])
    graph = graph_at(row["model"], size)
    count = activations(graph, grid_sizes(graph)) / 1e6
    assert abs(count - float(row["macts"])) < 0.00501


def graph_at(name, size):
    """The graph at a size, the model built for it where it has a fixed one."""
    try:
        return graph_of(f"timm:{name}", (3, size, size))[1]
    except TraceError:
        from stridewise.models.load import load_shapes
        from stridewise.tracing.trace import trace

        return trace(load_shapes(f"timm:{name}", img_size=size), (3, size, size))


@pytest.mark.parametrize("row", every(rows("receptive_field.csv"), 8, lambda r: r["model"]))
def test_receptive_field_stride_and_padding(row):
    size = int(row["input"])
    _, graph = graph_of(row["model"], (3, size, size))
    found = fields(graph, grid_sizes(graph)).full[graph.tensors[graph.last].grid]
    wanted = tuple(int(row[c]) for c in ("receptive_field", "effective_stride", "effective_padding"))
    assert {(f.size, f.jump, -f.start) for f in found} == {wanted}


def classifiers():
    """Of pictures: a video model's figure is per clip, of a length not told; the others count auxiliary heads."""
    return [r for r in rows("torchvision_macs.csv") if r["weights"].startswith("IMAGENET")]


@pytest.mark.parametrize("row", every(classifiers(), 10, lambda r: f"{r['model']}-{r['weights']}"))
def test_multiply_adds_of_torchvisions_classifiers(row):
    size = int(row["crop_or_resize"].strip("()[]").split(",")[0])
    try:
        _, graph = graph_of(f"torchvision:{row['model']}", (3, size, size))
    except TraceError:
        from stridewise.models.load import load_shapes
        from stridewise.tracing.trace import trace

        graph = trace(load_shapes(f"torchvision:{row['model']}", image_size=size), (3, size, size))
    count, wanted = macs(graph, grid_sizes(graph)) / 1e9, float(row["gmacs"])
    assert abs(count - wanted) <= max(0.002 * wanted, 0.001)


@pytest.mark.parametrize("row", every(rows("timm_convnets.csv"), 30, lambda r: r["model"]))
def test_every_convnet_of_timm(row):
    """It traces, its sizes follow from its geometry, there and at two other input sizes."""
    shape = tuple(map(int, row["input"].split("x")))
    if row["model"].startswith(NO_SITES):
        with pytest.raises(TraceError, match="it has no strides to show"):
            graph_of(f"timm:{row['model']}", shape)
        return
    model, graph = graph_of(f"timm:{row['model']}", shape)
    assert [tuple(s) for s in grid_sizes(graph)] == [g.sizes for g in graph.grids]
    if graph.unknown:
        assert graph.last is None
        return
    found = fields(graph, grid_sizes(graph)).full[graph.tensors[graph.last].grid]
    last = grid_sizes(graph)[graph.tensors[graph.last].grid]
    for field, size, whole in zip(found, last, shape[1:], strict=True):
        if size > 1:
            assert abs(field.jump * size - whole) <= 2 * field.jump, "positions times steps cover the input"
        else:  # one unpadded window over all of the last map (VGG's 7x7)
            assert field.start <= 0, "the only position sees the input's begin"
            assert field.start + field.size >= whole, "and its end"
    if row["model"].startswith(OTHER_CODE_AT_OTHER_SIZES):
        return
    for grow in (32, 37):
        found = compared(graph, model, tuple(n + grow for n in shape[1:]))
        assert found in ("", "refused")
