"""nnU-Net's plans: the network a configuration describes, the published rule, edits that keep it whole."""

import json
from dataclasses import replace

import pytest
import torch

from stridewise.analyses.findings import check
from stridewise.cli import main
from stridewise.configs.nnunet import read_network
from stridewise.configs.nnunet_steps import edited, even, published
from stridewise.errors import UsageError
from stridewise.models.load import default_input, open_graph
from stridewise.models.nnunet import UNet
from stridewise.tracing.trace import trace

STEPS = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]]
KERNELS = [[1, 3, 3], [1, 3, 3], *[[3, 3, 3]] * 5]
OLD = {
    "patch_size": [20, 320, 256],
    "spacing": [3.6, 0.625, 0.625],
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 32,
    "unet_max_num_features": 320,
    "n_conv_per_stage_encoder": [2] * 7,
    "n_conv_per_stage_decoder": [2] * 6,
    "num_pool_per_axis": [2, 6, 6],
    "pool_op_kernel_sizes": STEPS,
    "conv_kernel_sizes": KERNELS,
}
NEW = {
    "patch_size": [256, 256],
    "spacing": [1.0, 1.0],
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            "n_stages": 7,
            "features_per_stage": [32, 64, 128, 256, 512, 512, 512],
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3]] * 7,
            "strides": [[1, 1], *[[2, 2]] * 6],
            "n_blocks_per_stage": [1, 3, 4, 6, 6, 6, 6],
            "n_conv_per_stage_decoder": [1] * 6,
            "conv_bias": True,
        },
    },
}
PLANS = {
    "dataset_name": "Dataset005_Prostate",
    "configurations": {
        "3d_fullres": OLD,
        "2d": NEW,
        "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
    },
}


@pytest.fixture
def plans(tmp_path):
    path = tmp_path / "plans.json"
    path.write_text(json.dumps(PLANS, indent=4))
    return path


def parameters(path):
    with torch.device("meta"):
        return sum(p.numel() for p in UNet(read_network(path)).parameters())


@pytest.mark.parametrize(("name", "count"), [("3d_fullres", 44_577_356), ("2d", 105_916_812)])
def test_the_network_has_the_parameters_of_nnunets_own(plans, name, count):
    """Counted with dynamic_network_architectures 0.4.4, which gives the same names, shapes and numbers too."""
    assert parameters(f"{plans}:{name}") == count


def test_sizes_strides_and_names_of_the_drawn_network(plans):
    narrow = replace(read_network(str(plans)), features=(2,) * 7, patch=(20, 64, 64))
    graph = trace(UNet(narrow), (1, 20, 64, 64))
    sizes = {node.key: graph.grids[node.grid].sizes for node in graph.nodes if node.site and node.grid is not None}
    assert sizes["encoder.stages.2.0.convs.0.conv"] == (20, 16, 16)
    assert sizes["encoder.stages.6.0.convs.0.conv"] == (5, 1, 1)
    assert sizes["decoder.transpconvs.0"] == (5, 2, 2)
    assert graph.tensors[graph.outputs[0]].shape == (1, 2, 20, 64, 64)
    assert not [f for f in check(graph, config=str(plans)) if f.rule == "SW201"]
    steps = (*narrow.strides[:5], (2, 2, 2), (1, 2, 2))
    other = trace(UNet(replace(narrow, strides=steps)), (1, 40, 64, 64))
    found = [f for f in check(other, config=str(plans)) if f.rule == "SW201"]
    rows = plans.read_text().splitlines()
    assert [f.line for f in found] == [next(i for i, row in enumerate(rows, 1) if "pool_op" in row)] * 2
    assert "4×32×32" in found[0].message


def test_a_cascade_takes_the_labels_before_it_and_a_dataset_says_the_classes(plans):
    labels = {"background": 0, "PZ": 1, "TZ": 2, "ignore": 3}
    dataset = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": labels}
    (plans.parent / "dataset.json").write_text(json.dumps(dataset))
    found = read_network(str(plans))
    assert (found.channels, found.classes, found.known) == (2, 3, True)
    assert read_network(f"{plans}:3d_cascade_fullres").channels == 4
    assert default_input(f"{plans}:2d") == (2, 256, 256)
    assert open_graph(f"{plans}:2d").model == f"nnunet:{plans}:2d"


def test_the_rule_gives_what_is_published():
    """Patches, spacings and pools of the paper's tables: Prostate, Hippocampus, Liver, ACDC."""
    assert published((20, 320, 256), (3.6, 0.625, 0.625))[:2] == (
        tuple(map(tuple, STEPS)),
        tuple(map(tuple, KERNELS)),
    )
    assert published((40, 56, 40), (1, 1, 1))[0] == ((1, 1, 1), *[(2, 2, 2)] * 3)
    assert published((128, 128, 128), (1, 0.77, 0.77))[0] == ((1, 1, 1), *[(2, 2, 2)] * 5)
    steps, _, patch = published((20, 256, 224), (5, 1.56, 1.56))
    assert steps == ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    assert patch == (20, 256, 224)


def test_the_rule_beside_it_keeps_the_patch():
    for patch, spacing in (((20, 320, 256), (3.6, 0.6, 0.6)), ((17, 96, 100), (1, 1, 1.5)), ((512, 384), (1, 1))):
        steps, kernels = even(patch, spacing)
        assert len(kernels) == len(steps)
        for size, each in zip(patch, zip(*steps, strict=True), strict=True):
            left = size
            for step in each:
                assert left % step == 0
                left //= step
            assert left >= min(4, size)


def test_an_edit_changes_what_belongs_together_and_no_more(plans):
    text, lines, _ = edited(str(plans), {"stage3": "1x2x2", "stage5": "2x2x2", "kernel0": "3", "stages": "6"})
    assert lines == [
        "3d_fullres: stage 3 step 1x2x2 (was 2x2x2)",
        "3d_fullres: stage 5 step 2x2x2 (was 1x2x2)",
        "3d_fullres: stage 0 kernel 3x3x3 (was 1x3x3)",
        "3d_fullres: 6 stages (were 7)",
    ]
    after = json.loads(text)
    own = after["configurations"]["3d_fullres"]
    assert own["pool_op_kernel_sizes"] == [*STEPS[:3], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    assert own["conv_kernel_sizes"] == [[3, 3, 3], *KERNELS[1:6]]
    assert (own["n_conv_per_stage_encoder"], own["n_conv_per_stage_decoder"]) == ([2] * 6, [2] * 5)
    assert own["num_pool_per_axis"] == [2, 5, 5]
    changed = {"pool_op_kernel_sizes", "conv_kernel_sizes", "num_pool_per_axis", *(k for k in own if "n_conv" in k)}
    assert {k for k in own if own[k] != OLD[k]} == changed
    assert after["configurations"]["2d"] == NEW


def test_an_edit_of_the_newer_form_and_of_one_that_inherits(plans):
    text, _, _ = edited(f"{plans}:2d", {"stages": "8", "encoder.stages.7": "1x2"})
    own = json.loads(text)["configurations"]["2d"]["architecture"]["arch_kwargs"]
    assert own["strides"][-2:] == [[2, 2], [1, 2]]
    assert own["n_stages"] == len(own["features_per_stage"]) == len(own["n_blocks_per_stage"]) == 8
    assert own["features_per_stage"][-1] == 512
    after = json.loads(edited(f"{plans}:3d_cascade_fullres", {"stages": "6"})[0])["configurations"]
    assert len(after["3d_cascade_fullres"]["pool_op_kernel_sizes"]) == 6
    assert after["3d_fullres"] == OLD


def test_set_writes_plans_and_fit_puts_the_rules_beside_each_other(plans, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        return stop.value.code, capsys.readouterr()

    out = tmp_path / "new.json"
    code, said = run("set", str(plans), "stage3=1x2x2", "stage5=2x2x2", "-o", str(out))
    assert code == 0
    assert "3d_fullres: stage 5 step 2x2x2 (was 1x2x2)" in said.out
    assert read_network(str(out)).strides[5] == (2, 2, 2)
    code, said = run("set", str(plans), "stage6=2", "-o", str(tmp_path / "no.json"))
    assert code == 2
    assert said.err.count("\n") == 1
    assert not (tmp_path / "no.json").exists()
    code, said = run("fit", str(plans))
    assert code == 0
    assert "nnU-Net's rule" in said.out
    found = json.loads(run("fit", str(plans), "--json")[1].out)
    assert [row["strides"] for row in found["rows"]][1] == STEPS
    assert found["rows"][0]["macs"] == found["rows"][1]["macs"]
    assert found["rows"][2]["patch"] == [20, 320, 256]
    assert run("fit", str(plans), "--data", "builtin:digits")[0] == 2
    assert run("fit")[0] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage6": "2x2x2"}, "patch 20x320x256 is no multiple of 8x64x64"),
        ({"stage7": "2"}, "there are stages 0 to 6; stages=8 makes more"),
        ({"stage0": "2"}, "nothing brings a step of stage 0 back"),
        ({"stage1": "2:blur:3"}, "plans hold steps alone"),
        ({"stage1": "2x2"}, "3 numbers from 1 are wanted"),
        ({"kernel1": "2x3x3"}, "a kernel is even"),
        ({"conv1": "2"}, "of a plans file may change stage2=1x2x2"),
        ({"stages": "1"}, "from 2 to 16"),
        ({"stages": "9"}, "no multiple of"),
    ],
)
def test_an_edit_that_would_not_close_is_refused_in_words(plans, change, words):
    with pytest.raises(UsageError, match=words) as error:
        edited(str(plans), change)
    assert "\n" not in str(error.value)
    assert json.loads(plans.read_text()) == PLANS
