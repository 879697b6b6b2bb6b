"""Two networks side by side: who is paired with whom, and what is said to differ."""

import json
from itertools import pairwise

import jsonschema
import pytest
from torch import nn

import stridewise as sw
from stridewise.cli import main
from stridewise.schemas import schema_of


def net(*, step: int = 2, extra: bool = False, norm: bool = False) -> nn.Sequential:
    inserted = [nn.Conv2d(8, 8, 1)] if extra else []
    norms = [nn.BatchNorm2d(8)] if norm else []
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, step, 1), *norms, *inserted, nn.Conv2d(8, 8, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3)
    )


def graph(model: nn.Module, name: str = "net") -> sw.Graph:
    return sw.trace(model, (3, 32, 32), name=name)


def test_an_inserted_layer_stands_alone_and_the_step_is_the_cause():
    found = sw.beside(graph(net()), graph(net(step=1, extra=True)), names=("a", "b"))
    assert found.pairs == ((0, 0), (None, 1), (1, 2), (2, 3), (3, 4))
    differs = [set(pair["differs"]) for pair in found.to_json()["pairs"]]
    assert {"stride", "out_size", "cumulative_stride", "macs"} <= differs[0]
    assert "stride" not in differs[2]
    assert {"in_size", "out_size", "cumulative_stride", "receptive_field", "macs"} <= differs[2]
    table = found.document().parts[-1]
    assert [row[0] for row in table.rows][:4] == ["0", "  0", "1, only right", "1"]
    assert table.strong == {1, 2}
    assert table.rows[1][2] == "="  # the kernel; not the size
    assert table.rows[1][5] == "32×32"


def test_other_channels_are_paired_and_said():
    narrow = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3))
    found = sw.beside(graph(net()), graph(narrow))
    assert found.names == ("net", "net, the other")
    assert found.pairs == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert all("channels" in pair["differs"] for pair in found.to_json()["pairs"])


@pytest.mark.parametrize("tall", [1, 2])
def test_a_network_beside_its_file(tmp_path, capsys, tall):
    model = net(norm=True).eval()
    path = tmp_path / "net.onnx"
    sw.export(model, path, input=(3, 32, 32 * tall))
    read = sw.read_onnx(path)
    found = sw.beside(graph(model), read)
    assert found.pairs == ((0, 0), (1, 1), (2, 2), (3, 3))
    differs = {name for pair in found.to_json()["pairs"] for name in pair["differs"]} - {"params"}
    assert differs == ({"in_size", "out_size", "macs", "activations"} if tall == 2 else set())
    assert ("No layer's size" in str(found)) == (tall == 1)


def test_the_command_writes_json_markdown_and_a_page(tmp_path, capsys):
    models = ["builtin:resnet20-narrow", "--beside", "builtin:resnet20"]
    page = tmp_path / "page.html"
    for options in (["--json"], ["--md", "--html", str(page)]):
        with pytest.raises(SystemExit) as stop:
            main(["show", *models, *options])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        if options == ["--json"]:
            jsonschema.validate(json.loads(out), schema_of("beside"))
    assert "Layers that differ" in out
    assert "Layers that differ" in page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main(["show", *models, "--plan", "plan.toml"])
    assert (stop.value.code, "one at a time" in capsys.readouterr().err) == (2, True)


def test_one_structure_at_two_widths_is_paired_one_to_one():
    def stages(width: int) -> nn.Sequential:
        widths = [3, width, width, 2 * width, 2 * width, 4 * width]
        return nn.Sequential(*(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths)))

    found = sw.beside(sw.trace(stages(8), (3, 64, 64)), sw.trace(stages(16), (3, 64, 64)))
    assert found.pairs == tuple((at, at) for at in range(len(found.pairs)))
