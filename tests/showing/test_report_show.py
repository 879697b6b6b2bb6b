"""`show`: rows against the network itself, the JSON contract, plans side by side, training memory."""

import json
from fractions import Fraction

import pytest
import torch
from report_nets import ClassToken, Plain, Small, TwoInputs

import stridewise as sw
from stridewise.analyses.cost import kept_bytes, macs, peak_bytes
from stridewise.analyses.sizes import grid_sizes
from stridewise.errors import UsageError
from stridewise.showing.show import show

FIELDS = {
    "key", "op", "kernel", "stride", "dilation", "padding", "groups", "channels", "in_size", "out_size",
    "cumulative_stride", "receptive_field", "start", "global", "field_share", "macs", "params", "activations",
    "read_coverage", "channel_ceiling",
}  # fmt: skip


@pytest.fixture(scope="module")
def graph():
    return sw.trace(Small().eval(), (3, 32, 48), name="small")


def test_every_layer_has_the_size_and_the_weights_the_module_has(graph):
    net = Small().eval()
    seen = {}

    def note(path):
        def hook(module, given, out):
            seen[path] = (tuple(given[0].shape[2:]), tuple(out.shape[2:]), module)

        return hook

    for path, module in net.named_modules():
        if not list(module.children()):
            module.register_forward_hook(note(path))
    with torch.no_grad():
        net(torch.zeros(1, 3, 32, 48))
    rows = {layer.key: layer for layer in show(graph).layers}
    assert set(rows) == set(seen)
    for path, (before, after, module) in seen.items():
        row = rows[path]
        assert row.params == sum(p.numel() for p in module.parameters())
        if path != "fc":
            assert (row.in_size, row.out_size) == (before, after)
            assert (row.kernel, row.dilation, row.groups) == (module.kernel_size, module.dilation, module.groups)
            assert row.padding == tuple((p, p) for p in module.padding)
            sign = 1 if "Transpose" not in type(module).__name__ else -1
            assert row.stride == tuple(Fraction(s) ** sign for s in module.stride)
            assert row.channels == (module.in_channels, module.out_channels)


def test_the_json_has_every_field_of_the_contract(graph):
    found = show(graph).to_json()
    assert json.loads(json.dumps(found)) == found
    assert list(found)[:3] == ["schema", "model", "input"]
    assert {*found} == {
        "schema", "model", "input", "totals", "outputs", "layers", "groups", "slots", "unknown", "findings"
    }  # fmt: skip
    assert (found["schema"], found["model"], found["input"]) == ("stridewise.show/1", "small", [1, 3, 32, 48])
    assert {*found["totals"]} == {
        "macs", "params", "activations", "peak_activation_bytes", "output_stride", "receptive_field", "start",
        "smallest_input",
    }  # fmt: skip
    assert all({*layer} == FIELDS for layer in found["layers"])
    assert all({*out} == {"name", "size", "cumulative_stride", "receptive_field"} for out in found["outputs"])
    assert all({*group} == {"id", "sites", "stride", "free", "allowed"} for group in found["groups"])
    rows = {layer["key"]: layer for layer in found["layers"]}
    assert rows["up"]["stride"] == [1, "1/2"]
    assert rows["up"]["cumulative_stride"] == [2, 2]
    assert rows["down"]["cumulative_stride"] == [2, 4]
    assert rows["short"]["read_coverage"] == 0.5
    assert rows["down"]["channel_ceiling"] == 1.0
    assert rows["gate"]["cumulative_stride"] == [None, None]
    assert [rows[k]["global"] for k in ("stem", "down", "gate", "up", "fc")] == [False, False, True, True, True]
    assert rows["stem"]["field_share"] == [3 / 32, 3 / 48]
    assert found["totals"]["output_stride"] == [2, 4]  # the coarsest map of all outputs
    assert sum(layer["macs"] for layer in found["layers"]) == found["totals"]["macs"]


def test_golden_json(graph, golden):
    golden("show_small.json", json.dumps(show(graph).to_json(), indent=1) + "\n")


def test_several_named_inputs_are_named():
    graph = sw.trace(TwoInputs(), {"x": (2, 16), "t": (3,)}, name="two")
    assert show(graph).to_json()["input"] == {"x": [1, 2, 16], "t": [1, 3]}
    assert "input x 1×2×16, t 1×3" in str(show(graph))


def test_batch_and_training_scale_what_they_should(graph):
    one, many = show(graph, train=True), show(graph, batch=5, train=True)
    assert many.to_json()["input"] == [5, 3, 32, 48]
    for name in ("macs", "activations", "peak_activation_bytes", "kept_bytes"):
        assert getattr(many.totals, name) == 5 * getattr(one.totals, name)
    assert many.totals.params == one.totals.params
    sizes = grid_sizes(graph)
    assert one.totals.macs == macs(graph, sizes)
    assert one.totals.peak_activation_bytes == peak_bytes(graph, sizes)
    assert one.totals.kept_bytes == kept_bytes(graph, sizes)
    assert "kept_bytes" not in show(graph).to_json()["totals"]
    with pytest.raises(UsageError, match="batch"):
        show(graph, batch=0)


def test_plans_stand_beside_the_network_as_it_is():
    graph = sw.trace(Plain(), (3, 32, 32), name="plain")
    plans = {"finer": sw.plan(graph, {"b": 1}), "coarser": sw.plan(graph, {"c": 2})}
    report = show(graph, plans)
    assert [view.plan for view in report.views] == ["", "finer", "coarser"]
    for name, view in zip(plans, report.views[1:], strict=True):
        net = Plain()
        sw.apply(net, plans[name], input=(3, 32, 32))
        again = show(sw.trace(net, (3, 32, 32)))
        assert view.totals.macs == again.totals.macs
        assert [x.out_size for x in view.layers] == [x.out_size for x in again.layers]
    found = report.to_json()
    assert [plan["plan"] for plan in found["plans"]] == ["finer", "coarser"]
    assert found["totals"]["output_stride"] == [4, 4]
    assert [plan["totals"]["output_stride"] for plan in found["plans"]] == [[2, 2], [8, 8]]
    assert [view.plan for view in show(graph, [plans["finer"]]).views] == ["", "plan 1"]


def test_the_page_holds_everything_and_fetches_nothing(graph):
    page = show(graph).to_html()
    assert page.startswith("<!doctype html>")
    for layer in show(graph).layers:
        assert layer.key.split(".")[0] in page
    assert "http://" not in page
    assert "https://" not in page  # scripts and styles are inside; the page's own policy forbids fetching
    assert "default-src 'none'" in page
    assert show(graph)._repr_html_() in page


def test_a_name_with_markup_is_text():
    page = show(sw.trace(Plain(), (3, 32, 32), name="<b>&")).to_html()
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_what_works_on_a_class_token_has_no_place_on_the_grid():
    report = show(sw.trace(ClassToken(), (3, 32, 48)))
    mix, head = (next(row for row in report.layers if row.key == key) for key in ("mix", "head"))
    assert (mix.in_size, mix.out_size, mix.cumulative_stride) == ((4, 6), (4, 6), (8, 8))
    assert (head.in_size, head.out_size, head.cumulative_stride, head.macs) == ((1, 1), (1, 1), (None, None), 40)
    assert head.everything
    (output,) = report.to_json()["outputs"]
    assert (output["size"], output["cumulative_stride"]) == ([1, 1], [None, None])
