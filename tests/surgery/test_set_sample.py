"""Networks of thirty families at output stride 8, on shapes alone: all run, and the certificate says what it must.

`make zoo` takes thirty more here, and every one in tests/zoo/test_set_zoo.py, as benchmarks/set_zoo.py does.
"""

from dataclasses import replace

import pytest
import torch

import stridewise as sw
from stridewise.models.load import default_input, load, load_shapes
from stridewise.models.zoo import declare_missing_ops
from stridewise.rewrites.certify import certify
from stridewise.rewrites.dilate import dilation
from stridewise.surgery.verify import compare

declare_missing_ops()
pytest.importorskip("timm")
pytestmark = pytest.mark.filterwarnings("ignore")

# No op before the head mixes positions.
EXACT = """convnext_zepto_rms_ols cs3darknet_s cspdarknet53 cspresnet50 darknet17 dla46_c densenet121 dpn48b
efficientnet_es_pruned fasternet_t0 fbnetc_100 gernet_s hgnetv2_b1 inception_next_atto lowformer_e2 mambaout_femto
mnasnet_100 mobilenet_edgetpu_v2_m mobilenetv1_100 mobileone_s3 nf_resnet26 regnetx_002 repvgg_a2 resnet10t resnetaa34d
resnetblur18 resnetv2_18 selecsls42b spnasnet_100 starnet_s050 test_resnet vgg11 vovnet39a xception41p""".split()
# Squeeze-excite and the like: exact with their means on the old positions.
MEANS = """convnextv2_atto cspnext_s eca_resnext26ts ecaresnetlight ese_vovnet19b_slim fastvit_s12 fbnetv3_d
ghostnet_050 hardcorenas_a hgnet_tiny lcnet_050 legacy_seresnet18 mixnet_s poolformer_s12 regnety_002 regnetz_c16
repghostnet_050 resnest14d rexnet_100 semnasnet_100 seresnet18 skresnet18 swiftformer_xs tinynet_e""".split()
# Of these, one whose means are taken of flattened positions: of those, every second is no coarse grid.
FLATTENED = ("swiftformer_xs",)
# Attention over positions, or a gate that is a softmax over all of them.
MIXING = "efficientvit_b0 gcresnext26ts".split()


def plan_for(name: str, shape: tuple[int, ...]) -> tuple[torch.nn.Module, sw.Plan]:
    model = load_shapes(f"timm:{name}")
    return model, sw.plan(sw.trace(model, shape), output_stride=8, keep_weights=True)


EVERY = EXACT + MEANS + MIXING
OFTEN = {*EVERY[::2], *MIXING}


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.zoo) for n in EVERY])
def test_runs_and_is_certified(name):
    shape = tuple(default_input(f"timm:{name}"))
    model, plan = plan_for(name, shape)
    graph = sw.trace(model, shape)
    done = sw.apply(model, plan, input=shape)
    assert done.certificate.exact is (name in EXACT)
    if name in FLATTENED:
        with pytest.raises(sw.PlanError, match="no dilated form"):
            dilation(graph, replace(plan, means="grid"))
        return
    on_grid = certify(dilation(graph, replace(plan, means="grid")))
    assert on_grid.exact is (name not in MIXING)
    assert bool(on_grid.means) is (name in MIXING)


@pytest.mark.parametrize(
    "name", ["resnet10t", "test_resnet", "resnetblur18", "lcnet_050", "convnextv2_atto", "gcresnext26ts"]
)
def test_float64_agrees_with_the_certificate(name):
    """Both ways: certified exact is exact at an odd size, and what is certified inexact differs."""
    _, plan = plan_for(name, (3, 97, 97))
    for means in ("dense", "grid"):
        found = compare(load(f"timm:{name}"), replace(plan, means=means), input=(3, 97, 97))
        assert (found.features <= 1e-12) is found.done.certificate.exact
