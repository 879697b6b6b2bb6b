"""A transformers model from its folder: which model, which input, which weights; offline and without its code."""

import json
from pathlib import Path

import pytest
import torch

import stridewise as sw
from stridewise.cli import main
from stridewise.models.load import default_input, load, open_graph, resolve

hf = pytest.importorskip("transformers")

TINY = {"num_channels": 3, "embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
BLOCK = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 64}


def folder_of(path: Path, config: dict, **files: dict) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    for name, held in files.items():
        (path / f"{name}.json").write_text(json.dumps(held))
    return path


@pytest.mark.parametrize(
    ("config", "size", "stride"),
    [
        ({"model_type": "resnet", **TINY}, (3, 224, 224), [32, 32]),
        ({"model_type": "vit", **BLOCK, "patch_size": 16}, (3, 64, 64), [16, 16]),
        ({"model_type": "dinov2", **BLOCK, "patch_size": 8}, (3, 64, 64), [8, 8]),
        ({"model_type": "videomae", **BLOCK, "num_frames": 4}, (4, 3, 64, 64), [2, 16, 16]),
    ],
)
def test_a_folder_with_a_config_alone_opens_at_its_own_size(tmp_path, config, size, stride):
    folder = folder_of(tmp_path / "net", config)
    assert default_input(f"hf:{folder}") == size
    graph = open_graph(str(folder))
    assert sw.show(graph).to_json()["totals"]["output_stride"] == stride


def test_weights_come_from_safetensors_beside_the_config(tmp_path):
    torch.manual_seed(3)
    written = hf.ResNetModel(hf.ResNetConfig(**TINY)).eval()
    written.save_pretrained(tmp_path)
    read = load(f"hf:{tmp_path}")
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(read(x).last_hidden_state, written(x).last_hidden_state)
    assert not read.training
    backbone = load(f"hf:{tmp_path}:backbone")
    assert [tuple(m.shape[2:]) for m in backbone(x).feature_maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert torch.equal(backbone(x).feature_maps[-1], written(x).last_hidden_state)


def test_the_architecture_that_the_config_names_is_built(tmp_path):
    folder = folder_of(
        tmp_path / "net", {"model_type": "resnet", **TINY, "architectures": ["ResNetForImageClassification"]}
    )
    assert type(load(f"hf:{folder}", depths=[1, 1, 1, 2])).__name__ == "ResNetForImageClassification"
    backbone = sw.show(open_graph(f"{folder}:backbone", (3, 64, 64))).to_json()
    assert [o["cumulative_stride"][0] for o in backbone["outputs"]] == [4, 8, 16, 32]
    plan = sw.plan(open_graph(f"hf:{folder}", (3, 64, 64)), output_stride=8, keep_weights=True)
    done = sw.apply(load(f"hf:{folder}"), plan)
    assert done.certificate.exact


def test_the_size_that_the_preprocessor_makes_is_the_input(tmp_path):
    config = {"model_type": "resnet", **TINY}
    folder = folder_of(tmp_path / "net", config, preprocessor_config={"size": {"shortest_edge": 96}})
    assert default_input(f"hf:{folder}") == (3, 96, 96)


BAD = {
    "none": (None, "no such folder"),
    "empty": ({}, "names no model_type"),
    "own code": (
        {"model_type": "mine", "auto_map": {"AutoModel": "mine.Net"}},
        "by code in its folder, which is not run",
    ),
    "unknown": ({"model_type": "mine"}, "does not know model_type 'mine'"),
    "diffusers": ({"_class_name": "UNet2DModel"}, "is a UNet2DModel of diffusers"),
    "no backbone": ({"model_type": "wav2vec2"}, "has no backbone in transformers"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_cannot_be_read_is_one_line(tmp_path, capsys, name):
    config, said = BAD[name]
    folder = tmp_path / "net"
    if config is not None:
        (folder_of(folder, config) / "mine.py").write_text("raise SystemExit('run')")
    with pytest.raises(SystemExit) as left:
        main(["show", f"hf:{folder}{':backbone' if name == 'no backbone' else ''}"])
    told = capsys.readouterr().err
    assert left.value.code == 1
    assert said in told
    assert len(told.strip().splitlines()) == 1


def test_what_is_no_config_is_one_line(tmp_path):
    (tmp_path / "net").mkdir()
    with pytest.raises(sw.StridewiseError, match=r"is a folder without config\.json"):
        resolve(str(tmp_path / "net"))
    (tmp_path / "net" / "config.json").write_text("{")
    with pytest.raises(sw.StridewiseError, match="cannot be read"):
        open_graph(str(tmp_path / "net"))
