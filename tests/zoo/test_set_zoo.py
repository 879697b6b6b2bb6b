"""Kept weights over timm's convolutional networks (`make zoo`): how many run, what is certified, what float64 says.

Names come from the table that STRIDEWISE_TRUTH/timm_convnets.csv holds. STRIDEWISE_ZOO_SHARE=10 takes every tenth.
"""

import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

import stridewise as sw
from stridewise.errors import StridewiseError
from stridewise.models.load import default_input, load, load_shapes
from stridewise.rewrites.certify import certify
from stridewise.rewrites.dilate import dilation
from stridewise.surgery.verify import Verification, compare, randomise

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]

EXACT = 1e-12
NAMED = [  # no position-mixing op, among them those that peers change the values of
    *("resnet50", "resnet18", "resnet50d", "gernet_s", "mobileone_s0", "resnetblur50", "densenet121", "inception_v3"),
    *("convnext_atto", "hrnet_w18_small", "tf_mobilenetv3_large_minimal_100", "vgg11_bn", "repvgg_a0", "darknet53"),
]
REFUSED = {"bat_resnext26ts", "lambda_resnet26rpt_256"}  # an op without a rule; a position table
SIZES = ((96, 128), (97, 113))
OTHER_SIZES = {  # the one adds maps that meet at multiples of 32 alone, the other pools what is smaller than 7x7
    "hrnet_w18_small": ((96, 128), (160, 96)),
    "vgg11_bn": ((224, 256), (231, 247)),
}
SQUEEZED = ["nfnet_f0", "mobilenetv3_small_100", "seresnet50", "tf_efficientnet_b0", "regnety_002", "ghostnet_100"]


def rows() -> list[dict[str, str]]:
    table = Path(os.environ.get("STRIDEWISE_TRUTH", "truth")) / "timm_convnets.csv"
    if not table.exists():
        pytest.skip(f"{table} is not there: STRIDEWISE_TRUTH names the folder that holds it")
    with table.open() as file:
        return [row for row in csv.DictReader(file) if row["kind"] == "pure"]


def changed(name: str, cap: int, means: str = "dense", size: tuple[int, int] | None = None) -> Verification:
    spec = f"timm:{name}"
    shape = default_input(spec)
    plan = sw.plan(sw.trace(load_shapes(spec), shape), output_stride=cap, keep_weights=True, means=means)
    return compare(load(spec), plan, input=(shape[0], *(size or shape[1:])))


@pytest.mark.parametrize("cap", [8, 16])
def test_nearly_every_network_runs(cap, capsys):
    """At least 670 of 678 run; each change is verified by tracing the changed model again."""
    found: Counter[str] = Counter()
    refused = []
    names = rows()[:: int(os.environ.get("STRIDEWISE_ZOO_SHARE", "1"))]
    for row in names:
        shape = tuple(int(n) for n in row["input"].split("x"))
        try:
            model = load_shapes(f"timm:{row['model']}")
            graph = sw.trace(model, shape)
            plan = sw.plan(graph, output_stride=cap, keep_weights=True)
            done = sw.apply(model, plan, input=shape)
            found["exact" if done.certificate is None or done.certificate.exact else "exact except means"] += 1
            grid = sw.Plan(**{**{k: getattr(plan, k) for k in plan.__slots__}, "means": "grid"})
            found["exact with means on the grid"] += certify(dilation(graph, grid)).exact
        except StridewiseError as error:
            refused.append(f"{row['model']}: {error}")
    with capsys.disabled():
        print(f"\noutput stride {cap}: {len(names) - len(refused)} of {len(names)} run; {dict(found)}")
        print("\n".join(refused))
    assert {line.split(":")[0] for line in refused} <= REFUSED, "at least 670 of 678 run"


@pytest.mark.parametrize("cap", [8, 16])
@pytest.mark.parametrize("name", NAMED)
def test_without_mixing_ops_all_is_exact(name, cap):
    for size in OTHER_SIZES.get(name, SIZES):
        found = changed(name, cap, size=size)
        assert found.done.certificate.exact
        assert found.features <= EXACT, f"{name} at {size}: {found}"


@pytest.mark.parametrize("name", SQUEEZED)
def test_means_on_the_grid_make_squeezed_networks_exact(name):
    for size in SIZES:
        found = changed(name, 8, "grid", size)
        assert found.done.certificate.exact
        assert not found.done.certificate.means
        assert max(found.features, found.outputs) <= EXACT, f"{name} at {size}: {found}"


def test_certificate_and_numbers_agree_in_every_family():
    """Both ways: certified exact is exact, and what is certified inexact differs."""
    families: dict[str, tuple[int, str]] = {}
    for row in rows():
        family = re.split(r"[_\d]", row["model"].removeprefix("tf_"))[0]
        families[family] = min(families.get(family, (10**6, "")), (int(row["sites"]), row["model"]))
    wrong = []
    for _, name in sorted(families.values()):
        try:
            found = changed(name, 8, size=(128, 128))
        except (StridewiseError, RuntimeError, AssertionError):  # such as a network whose own code takes no 128 pixels
            continue
        if found.features is not None and (found.features <= EXACT) is not found.done.certificate.exact:
            wrong.append(f"{name}: {found.done.certificate} but {found}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv2_100", "resnext26ts", "regnetx_002"])
def test_equals_timm_where_timm_is_right(name):
    ours = load(f"timm:{name}").double()
    theirs = load(f"timm:{name}", output_stride=8).double()
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    sw.apply(ours, sw.plan(sw.trace(ours, (3, 224, 224)), output_stride=8, keep_weights=True))
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        a, b = ours.forward_features(x), theirs.forward_features(x)
    assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)
