"""An ONNX file on the page runs as the model it was made from does; what it cannot do is said before it is asked."""

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

import stridewise as sw
from stridewise.errors import UsageError
from stridewise.web.pictures import Pictures
from stridewise.web.server import make_app
from stridewise.web.work import WORKS
from stridewise.web.workbench import Opened, Workbench, kinds_here, refusals

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class Narrow(torch.nn.Module):
    """Steps made by strided convolutions, so that every kind can be asked for in the file too."""

    def __init__(self) -> None:
        super().__init__()
        block = [torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 1, 1), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*block, torch.nn.Conv2d(8, 6, 3, 2, 1), torch.nn.ReLU())
        self.head = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.layers(x).mean((2, 3)))
        return found


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return Narrow().eval()


@pytest.fixture(scope="module")
def file(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("onnx") / "narrow.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, torch.rand(1, 3, 64, 64), str(path), dynamo=False, input_names=["x"])
    return str(path)


@pytest.fixture(scope="module")
def both(file: str, model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> tuple[Opened, Opened]:
    """The file, and the model it was made from."""
    source = tmp_path_factory.mktemp("source") / "narrow.py"
    source.write_text("")
    opened, live = Workbench([file]).opened[0], Opened(f"{source}:net", (3, 64, 64), False)
    live.live = model
    live.studied = type(opened.wait())(graph=sw.trace(model, (3, 64, 64), name="narrow"))
    live.ready.set()
    return opened, live


def done(kind: str, opened: Opened, asked: dict[str, Any]) -> dict[str, Any]:
    return WORKS[kind](opened, Pictures(), asked, lambda share, doing: None)


WISHES = [
    {"name": "original"},
    {"name": "plan B", "changes": {"layers.0": "1", "layers.2": "2"}},
    {"name": "plan C", "changes": {"layers.4": "2:blur:5:zero"}},
]


@pytest.mark.parametrize("layer", ["layers.0", "layers.2", "layers.4", "layers.4/blur"])
def test_maps_of_a_file_are_the_model_s(both: tuple[Opened, Opened], layer: str):
    found, expected = (done("maps", each, {"layer": layer, "plans": WISHES}) for each in both)
    names = ["plan C"] if layer == "layers.4/blur" else ["original", "plan B", "plan C"]
    assert [m["plan"] for m in found["maps"]] == names
    assert found["channels"] == expected["channels"]
    for own, other in zip(found["maps"], expected["maps"], strict=True):
        assert own["size"] == other["size"]
        for one, two in zip(own["pictures"], other["pictures"], strict=True):
            assert np.abs(pixels(one) - pixels(two)).max() <= 1


def pixels(address: str) -> Any:
    import base64
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))).astype(int)


def test_the_shift_test_of_a_file_under_any_two_plans_is_the_model_s(both: tuple[Opened, Opened]):
    found, expected = (done("shift", each, {"plans": WISHES[1:]}) for each in both)
    assert [(c["plan"], c["stride"]) for c in found["curves"]] == [("plan B", 4), ("plan C", 4)]
    for own, other in zip(found["curves"], expected["curves"], strict=True):
        assert np.allclose(own["change"], other["change"], atol=1e-4)
        assert max(own["change"]) > 0


def test_latency_is_onnxruntime_s_and_a_filter_is_the_file_s(both: tuple[Opened, Opened], model: Any):
    found = done("latency", both[0], {"plans": WISHES[1:]})
    assert found["by"] == "onnxruntime"
    assert [p["name"] for p in found["plans"]] == ["plan B", "plan C"]
    assert found["plans"][0]["ratio"] == 1
    assert np.allclose(both[0].filter("layers.4"), model.layers[4].weight.detach().numpy())


def test_what_a_file_cannot_do_is_said_before_it_is_asked(both: tuple[Opened, Opened], file: str):
    assert set(refusals(both[0])) == {"elastic", "field"}
    assert refusals(both[1]) == {}
    with pytest.raises(UsageError, match="gives no gradients: the dashed box is the exact field; open the PyTorch"):
        done("field", both[0], {"layer": "layers.0", "position": [1, 1]})
    with pytest.raises(sw.PlanError, match=r"plan D: layers\.4: 'polyphase' is not done in a file"):
        done(
            "maps", both[0], {"layer": "layers.4", "plans": [{"name": "plan D", "changes": {"layers.4": "polyphase"}}]}
        )
    origin = "http://127.0.0.1:8765"
    client = TestClient(make_app(Workbench([file]), token="secret", port=8765), base_url=origin)
    client.get("/?token=secret")
    told = client.get("/api/network/0").json()
    assert "no gradients" in told["cannot"]["field"]
    assert told["random"] is False
    assert {tuple(kinds) for key, kinds in told["kinds"].items()} == {
        ("max", "blur", "mean"),
        ("stride", "blur", "mean", "max"),
    }
    client.headers["origin"] = origin
    text = client.post("/api/export", json={"network": 0, "changes": {"layers.0": "1", "layers.2": "2"}}).json()
    scope: dict[str, Any] = {}
    exec(text["python"].replace('out="changed.onnx"', f"out={str(Path(file).with_name('changed.onnx'))!r}"), scope)
    changed = sw.read_onnx(Path(file).with_name("changed.onnx"))
    assert [n.key for n in changed.sites if n.attrs["maps"][0].stride == 2] == ["layers.2", "layers.4"]


def test_only_steps_that_a_file_can_be_given_are_offered(tmp_path: Path):
    """Each kind that is offered at a place is carried out on the file; the others are refused there."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 1, 1), torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 4, 3, 2, 1))
    path = str(tmp_path / "pool.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), torch.rand(1, 3, 32, 32), path, dynamo=False, input_names=["x"])
    opened = Workbench([path]).opened[0]
    graph, every, offered = opened.wait().graph, opened.wait().original["kinds"], kinds_here(opened)
    for place in [node.key for node in graph.sites] + [f"+{slot.key}" for slot in graph.slots]:
        usual = "+" if place.startswith("+") else ""
        own = offered.get(place, offered[usual])
        for kind in every.get(place, every[usual]):
            plan = sw.plan(graph, {place: "2" if kind == "stride" else f"2:{kind}"})
            try:
                sw.apply(path, plan, out=tmp_path / "changed.onnx")
                done = True
            except sw.PlanError:
                done = False
            assert done == (kind in own), (place, kind)


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ([], "one to 3 are compared"),
        ([{"name": "a"}] * 2, "a name of its own"),
        ([{"name": "B"}, {"name": "plan B"}], "a name of its own"),
        ([{}], "a name of its own"),
        ([{"name": "x" * 41}], "a name of its own"),
        ("all", "one to 3 are compared"),
        ([{"name": str(n)} for n in range(4)], "one to 3 are compared"),
        ([{"name": "a", "changes": {"nowhere": "2"}}], "no site of that name"),
    ],
)
def test_plans_that_cannot_be_compared_are_one_line(both: tuple[Opened, Opened], plans: Any, said: str):
    with pytest.raises(sw.StridewiseError, match=said):
        done("latency", both[0], {"plans": plans})


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch of itself, where it calls such a program
def test_an_exported_program_is_run_as_it_is(model: torch.nn.Module, tmp_path: Path):
    file = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(model, (torch.rand(1, 3, 64, 64),)), file)
    opened = Workbench([f"pt2:{file}"], (3, 64, 64), trust=True).opened[0]
    assert refusals(opened) == {}
    key = opened.wait().graph.sites[1].key
    found = done("maps", opened, {"layer": key})
    assert [m["size"] for m in found["maps"]] == [[32, 32]]
    assert 0 < done("field", opened, {"layer": key, "position": [9, 9]})["share"] <= 49 / 64**2
    plans = [{"name": "plan B", "changes": {opened.wait().graph.sites[0].key: "1"}}]
    with pytest.raises(sw.PlanError, match=r"plan B: .* can be changed from outside"):
        done("latency", opened, {"plans": plans})


def test_a_file_s_slider_over_cost_needs_no_torch(tmp_path: Path):
    weights = [onnx.numpy_helper.from_array(np.ones((4, c, 3, 3), np.float32), f"w{i}") for i, c in enumerate((3, 4))]
    nodes = [
        onnx.helper.make_node("Conv", [x, f"w{i}"], [y], name=f"conv{i}", pads=[1] * 4, strides=[2, 2])
        for i, (x, y) in enumerate((("x", "y"), ("y", "z")))
    ]
    ends = [onnx.helper.make_tensor_value_info(n, 1, [1, c, s, s]) for n, c, s in (("x", 3, 64), ("z", 4, 16))]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    file = tmp_path / "two.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), file)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from stridewise.web.areas import elastic_plans\n"
        "from stridewise.web.workbench import Workbench\n"
        "print(*[row['name'] for row in elastic_plans(Workbench([sys.argv[1]]).opened[0])['plans']])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert {"0.5x", "1x"} <= set(ran.stdout.split())
