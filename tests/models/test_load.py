"""Models by name: what a name stands for, what is built, and what is refused in one line."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import stridewise as sw
from stridewise.models.load import default_input, load_shapes, open_graph, resolve

FACTORY = """
from torch import nn

def tiny(channels=3, bias=True):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2, bias=bias), nn.ReLU())

instance = nn.Conv2d(3, 4, 1)
number = 7

def wrong():
    return 7
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    file = tmp_path / "nets.py"
    file.write_text(FACTORY)
    return file


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ("timm:resnet50", "timm", "resnet50"),
        ("torchvision:fcn_resnet50", "torchvision", "fcn_resnet50"),
        ("builtin:resnet20", "builtin", "resnet20"),
        ("onnx:a/b", "onnx", "a/b"),
        ("a/b.onnx", "onnx", "a/b.onnx"),
        ("py:pkg.mod:factory", "py", "pkg.mod:factory"),
        ("dir/file.py:factory", "py", "dir/file.py:factory"),
        ("py:file.py:factory", "py", "file.py:factory"),
        ("pt2:x.pt2", "pt2", "x.pt2"),
        ("resnet50", "torchvision", "resnet50"),
        ("resnet26d", "timm", "resnet26d"),
        ("resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
    ],
)
def test_a_name_stands_for_one_model(given, kind, name):
    spec = resolve(given)
    assert (spec.kind, spec.name) == (kind, name)
    assert str(spec) == f"{kind}:{name}"
    assert resolve(spec) is spec
    assert bool(spec.note) == (":" not in given and "." not in given.split("/")[-1][-5:]), spec.note


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ("resnett50", sw.LoadError, "no model 'resnett50' in torchvision or timm; did you mean resnet50, "),
        ("timm:resnett26", sw.LoadError, "no model 'resnett26' in timm; did you mean resnet26"),
        ("torchvision:resnett18", sw.LoadError, "no model 'resnett18' in torchvision; did you mean resnet18"),
        ("timm:", sw.UsageError, "model 'timm:': a name is wanted after 'timm:'"),
        ("hub:thing", sw.UsageError, "model 'hub:thing': no kind 'hub'; a model is timm:NAME, "),
        ("net.py", sw.UsageError, "model 'net.py': say which function makes the model: net.py:factory"),
        ("", sw.UsageError, "no model is named; a model is timm:NAME, "),
        ("py:no.such.module:f", sw.LoadError, "py:no.such.module: no such module, seen from "),
        ("absent.py:f", sw.LoadError, "absent.py: no such file"),
        ("py:alone", sw.UsageError, "model 'alone': name the function too, as alone:factory"),
        ("pt2:absent.pt2", sw.LoadError, "absent.pt2: no such file"),
        ("a.onnx", sw.LoadError, "a.onnx: an ONNX file is no live model: read it with sw.read_onnx"),
        ("timm:hf-hub:timm/resnet18", sw.LoadError, "no model 'hf-hub:timm/resnet18' in timm"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(given, error, text):
    with pytest.raises(error) as caught:
        sw.load(given)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


def test_models_come_in_eval_on_the_device_asked_for():
    model = sw.load("timm:resnet10t")
    assert not any(m.training for m in model.modules())
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    shapes = sw.load("timm:resnet10t", device="meta")
    assert {p.device.type for p in shapes.parameters()} == {"meta"}
    assert not any(m.training for m in shapes.modules())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "resnet18", "deeplabv3_resnet50"])
def test_torchvision_models_build_without_weights_and_without_warnings(name):
    assert sw.load(f"torchvision:{name}", device="meta").training is False


def test_arguments_reach_the_factory(factory):
    assert sw.load("timm:resnet10t", device="meta", num_classes=7).fc.out_features == 7
    assert sw.load(f"{factory}:tiny", channels=5)[0].in_channels == 5
    with pytest.raises(sw.LoadError, match=r"does not take these arguments \(colour\)"):
        sw.load(f"{factory}:tiny", colour=5)


def test_a_factory_in_a_file_or_module(factory, monkeypatch):
    model = sw.load(f"{factory}:tiny")
    assert model[0].stride == (2, 2)
    assert sw.load(f"py:{factory}:instance").kernel_size == (1, 1)
    monkeypatch.chdir(factory.parent)
    before = list(sys.path)
    assert sw.load("py:nets:tiny")[0].stride == (2, 2)
    assert sys.path == before
    for name, text in [
        ("number", "a function that makes a torch.nn.Module is wanted, not int"),
        ("wrong", "gave int, and a torch.nn.Module is wanted"),
        ("tinny", "has no 'tinny'; did you mean tiny?"),
        ("nothere", "has no 'nothere': it has "),
    ]:
        with pytest.raises(sw.LoadError, match=text.replace("?", r"\?")):
            sw.load(f"nets.py:{name}")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "def f():\n    raise KeyError('no key')",
            r"py:own.py:f: its code failed: KeyError: 'no key' \(own.py, line 2\)",
        ),
        ("def f(n): pass", r"its code failed: TypeError: f\(\) missing 1 required positional argument: 'n'"),
        ("import no_such_library", r"its code failed: ModuleNotFoundError: .*'no_such_library' \(own.py, line 1\)"),
        ("def f(:", r"its code failed: SyntaxError: .* \(own.py, line 1\)"),
    ],
)
def test_code_that_fails_is_one_line_with_its_place(tmp_path, monkeypatch, code, text):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(code)
    for load in (sw.load, load_shapes):
        with pytest.raises(sw.LoadError, match=text) as caught:
            load("own.py:f")
        assert "\n" not in str(caught.value)


def test_default_inputs_are_what_the_model_was_made_for():
    assert default_input("timm:botnet26t_256") == (3, 256, 256)
    assert default_input("timm:inception_v3") == (3, 299, 299)
    assert default_input("torchvision:inception_v3") == (3, 299, 299)
    assert default_input("torchvision:r3d_18") == (3, 16, 112, 112)
    assert default_input("torchvision:resnet18") == (3, 224, 224)
    assert default_input("file.py:factory") == (3, 224, 224)


def test_open_graph_takes_the_models_own_input_unless_told(factory):
    graph = open_graph("timm:resnet10t")
    assert graph.model == "timm:resnet10t"
    assert graph.tensors[0].shape == (1, *default_input("timm:resnet10t"))
    assert open_graph(f"{factory}:tiny", (3, 33, 40)).grids[-1].sizes == (16, 19)


def test_a_model_that_cannot_be_built_on_meta_is_built_on_the_cpu(tmp_path):
    (tmp_path / "n.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef net():\n"
        "    rates = [x.item() for x in torch.linspace(0, 1, 3)]\n"
        "    return nn.Sequential(nn.Conv2d(3, 2 + len(rates), 3))\n"
    )
    assert next(load_shapes(f"{tmp_path}/n.py:net").parameters()).device.type == "cpu"
    assert open_graph(f"{tmp_path}/n.py:net", (3, 9, 9)).grids[-1].sizes == (7, 7)


class TestWeights:
    def test_safetensors_and_torch_files_give_the_same_model(self, factory, tmp_path):
        from safetensors.torch import save_file

        model = sw.load(f"{factory}:tiny")
        save_file(model.state_dict(), tmp_path / "w.safetensors")
        torch.save(model.state_dict(), tmp_path / "w.pt")
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "c"
        )
        for weights in (tmp_path / "w.safetensors", tmp_path / "w.pt", tmp_path / "c", model.state_dict()):
            again = sw.load(f"{factory}:tiny", weights=weights)
            assert torch.equal(again[0].weight, model[0].weight)

    def test_what_does_not_fit_is_named_and_nothing_is_filled(self, factory):
        state = sw.load(f"{factory}:tiny").state_dict()
        wrong = {"0.weight": state["0.weight"][:, :2], "1.scale": state["0.bias"]}
        with pytest.raises(sw.LoadError) as caught:
            sw.load(f"{factory}:tiny", weights=wrong)
        assert str(caught.value).endswith(
            "1 missing (0.bias), 1 not in the model (1.scale), "
            "1 of another shape (0.weight is 4x2x3x3 where the model has 4x3x3x3)"
        )
        assert "\n" not in str(caught.value)

    def test_a_pickle_needs_trust(self, factory, tmp_path):
        torch.save(torch.nn.Conv2d(3, 4, 3), tmp_path / "module.pt")
        with pytest.raises(sw.LoadError, match=r"holds more than tensors.*pass --trust \(trust=True\)"):
            sw.load(f"{factory}:tiny", weights=tmp_path / "module.pt")
        with pytest.raises(sw.LoadError, match=r"does not fit .*2 missing"):
            sw.load(f"{factory}:tiny", weights=tmp_path / "module.pt", trust=True)

    @pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
    def test_a_broken_file_is_one_line(self, factory, tmp_path, name):
        (tmp_path / name).write_bytes(b"not weights at all, only some text that is long enough")
        with pytest.raises(sw.LoadError, match="not a ") as caught:
            sw.load(f"{factory}:tiny", weights=tmp_path / name)
        assert "\n" not in str(caught.value)
        with pytest.raises(sw.LoadError, match="no such file"):
            sw.load(f"{factory}:tiny", weights=tmp_path / "absent.pt")
        with pytest.raises(sw.UsageError, match="weights cannot be loaded on the meta device"):
            sw.load(f"{factory}:tiny", device="meta", weights=tmp_path / name)


def test_an_exported_program_needs_trust(factory, tmp_path):
    model = sw.load(f"{factory}:tiny")
    file = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 32, 32),)), file)
    with pytest.raises(sw.LoadError, match=r"can run code: pass --trust \(trust=True\)"):
        sw.load(f"pt2:{file}")
    again = sw.load(f"pt2:{file}", trust=True)
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(again(x), model(x))
    found = open_graph(f"pt2:{file}", (3, 32, 32), trust=True)
    assert [n.attrs["kernel"] for n in found.sites] == [n.attrs["kernel"] for n in sw.trace(model, (3, 32, 32)).sites]


TORCHVISION = """
import logging, sys
seen = []
class Keep(logging.Handler):
    def emit(self, record):
        seen.append(record.getMessage())
logging.getLogger("stridewise").addHandler(Keep())
import stridewise as sw
from stridewise.models import zoo
import torch
import importlib.util, pathlib
fits = True
for lib in pathlib.Path(importlib.util.find_spec("torchvision").origin).parent.glob("_C*.*"):
    try:
        torch.ops.load_library(str(lib))
    except OSError:
        fits = False
sw.load("torchvision:resnet18", device="meta")
sw.load("timm:resnet10t", device="meta")
import torchvision
assert len(seen) == (0 if fits else 1), seen
assert all("\\n" not in line and line.startswith("torchvision's compiled ops") for line in seen)
"""


def test_torchvision_is_usable_where_its_ops_are_missing_and_says_so_once():
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", TORCHVISION], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""


def test_without_the_libraries_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("stridewise.models.zoo.installed", lambda library: False)
    with pytest.raises(sw.MissingExtraError, match=r"pip install 'stridewise\[zoo\]'"):
        resolve("resnet18")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(sw.MissingExtraError, match=r"'timm:' models needs timm.*stridewise\[zoo\]"):
        sw.load("timm:resnet18")
