"""Tracing leaves the model, and everything around it, as it found them; also after an error in the forward."""

import gc
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_nets import NETS, Hidden, Residual, build
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

from stridewise.errors import TraceError
from stridewise.tracing.trace import trace


def held(value, seen):
    """What an attribute holds, by identity; containers are followed."""
    if isinstance(value, nn.Module):
        return snapshot(value, seen)
    if isinstance(value, torch.Tensor):
        pointer = None if value.device.type == "meta" else value.data_ptr()
        gradient = value.grad if value.is_leaf else None
        gradient = None if gradient is None else (id(gradient), gradient._version)
        return (id(value), pointer, tuple(value.shape), value.stride(), value.dtype, value._version, gradient)
    if isinstance(value, dict):
        return id(value), [(k, held(v, seen)) for k, v in value.items()]
    if isinstance(value, list | tuple | set):
        return id(value), [held(v, seen) for v in value]
    return id(value)


def snapshot(module, seen=None):
    """Every attribute of every module, tensors with their memory and version, hooks and modes included."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return id(module)
    seen.add(id(module))
    return id(module), type(module), [(k, held(v, seen)) for k, v in module.__dict__.items()]


def surroundings():
    """What a trace might leave changed outside the model."""
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.overrides._get_current_function_mode_stack(),
        torch._C._len_torch_dispatch_stack(),
        gc.isenabled(),
    )


def assert_untouched(model, shape, error=False):
    before, around = snapshot(model), surroundings()
    if error:
        with pytest.raises(TraceError):
            trace(model, shape)
    else:
        trace(model, shape)
    assert snapshot(model) == before
    assert surroundings() == around


class Breaks(nn.Module):
    """Changes itself on the way, then fails."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.seen = []
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.train()
        self.later = x
        self.seen = [*self.seen, x]
        self.count += 1
        self.register_buffer("extra", x)
        x = self.bn(self.conv(x))
        self.conv.weight.mul_(2)
        return x @ x[:, :, :3, :4]


def normed(kind):
    def make():
        conv = nn.Conv2d(3, 4, 3, 2, 1)
        if kind == "weight norm":
            conv = parametrizations.weight_norm(conv)
        elif kind == "spectral norm":
            conv = parametrizations.spectral_norm(conv)
        elif kind == "old weight norm":
            conv = weight_norm(conv)
        elif kind == "old spectral norm":
            conv = spectral_norm(conv)
        else:

            class Symmetric(nn.Module):
                def forward(self, w):
                    return w + w.transpose(-1, -2)

            parametrize.register_parametrization(conv, "weight", Symmetric())
        return nn.Sequential(conv, nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))

    return make


def hooked():
    model = Residual()
    model.conv1.register_forward_hook(lambda m, i, o: o * 2)
    model.conv1.register_forward_pre_hook(lambda m, i: (i[0] + 1,))
    model.register_full_backward_hook(lambda m, i, o: None)
    model._register_state_dict_hook(lambda *a: None)
    return model


def overridden():
    model = Residual()
    original = model.conv1.forward
    model.conv1.forward = lambda x: original(x).relu()
    return model


NORMED = ["weight norm", "spectral norm", "old weight norm", "old spectral norm", "parametrization"]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")
class TestUntouched:
    @pytest.mark.parametrize("name", NETS)
    def test_small_networks(self, name):
        model, shape = build(name)
        assert_untouched(model, shape)

    @pytest.mark.parametrize("training", [True, False])
    def test_modes_are_kept_and_the_graph_is_that_of_eval(self, training):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train(training)
        model[2].train()
        assert_untouched(model, (3, 16, 16))

    @pytest.mark.parametrize("kind", NORMED)
    def test_weights_that_are_worked_out(self, kind):
        model = normed(kind)()
        assert_untouched(model, (3, 16, 16))
        assert [n.key for n in trace(model, (3, 16, 16)).sites] == ["0", "2"]

    def test_hooks_are_kept_and_run(self):
        model = hooked()
        assert_untouched(model, (3, 32, 32))
        ran = []
        model.conv2.register_forward_hook(lambda m, i, o: ran.append(o.device.type))
        trace(model, (3, 32, 32))
        assert ran == ["meta"]

    def test_a_forward_of_its_own_is_kept_and_leads_into_the_copy(self):
        model = overridden()
        assert_untouched(model, (3, 32, 32))

    def test_gradients_and_frozen_parameters(self):
        model = Residual()
        model(torch.rand(1, 3, 32, 32)).sum().backward()
        model.stem.weight.requires_grad_(False)
        flags = [p.requires_grad for p in model.parameters()]
        assert_untouched(model, (3, 32, 32))
        assert [p.requires_grad for p in model.parameters()] == flags

    def test_after_an_error_in_the_forward(self):
        assert_untouched(Breaks(), (3, 32, 32), error=True)

    def test_after_an_error_at_the_input(self):
        assert_untouched(Residual(), (5, 32, 32), error=True)

    def test_values_are_the_same_afterwards(self):
        model = Residual().eval()
        x = torch.rand(1, 3, 32, 32)
        before = model(x)
        trace(model, (3, 64, 48))
        assert torch.equal(model(x), before)

    def test_inside_other_modes(self):
        model = Residual()
        with torch.inference_mode():
            assert_untouched(model, (3, 32, 32))
        with torch.device("meta"):
            assert_untouched(model, (3, 32, 32))
        gc.disable()
        try:
            assert_untouched(model, (3, 32, 32))
        finally:
            gc.enable()

    def test_a_wrapped_model_traces_as_well(self):
        model = Residual().eval()
        keys = [n.key for n in trace(model, (3, 32, 32)).sites]
        assert [n.key for n in trace(nn.DataParallel(model), (3, 32, 32)).sites] == [f"module.{k}" for k in keys]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own imports
def test_a_compiled_model_is_traced_as_the_model_it_was_made_from():
    model = Residual().eval()
    keys = [n.key for n in trace(model, (3, 32, 32)).sites]
    compiled = torch.compile(model)
    assert_untouched(compiled, (3, 32, 32))
    assert [n.key for n in trace(compiled, (3, 32, 32)).sites] == keys
    model.conv1 = torch.compile(model.conv1)
    assert [n.key for n in trace(model, (3, 32, 32)).sites] == keys


def test_what_cannot_be_traced_is_said_in_one_line():
    with pytest.raises(TraceError, match="a lazy module has no weights yet: run the model once on real data"):
        trace(nn.Sequential(nn.LazyConv2d(4, 3)), (3, 32, 32))
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        script = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    with pytest.raises(TraceError, match="0: is TorchScript, which runs unseen: trace the module it was made from"):
        trace(nn.Sequential(script), (3, 32, 32))
    with pytest.raises(TraceError, match=r"trace: a torch.nn.Module is wanted, not function"):
        trace(lambda x: x, (3, 32, 32))
    with pytest.raises(TraceError, match="no convolution or pooling was met: it has no strides to show"):
        trace(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (3, 4, 4))


CHANGES = {
    "a hook": lambda m: m.conv1.register_forward_hook(lambda *a: None),
    "a mode": lambda m: m.bn.train(),
    "a buffer": lambda m: m.register_buffer("new", torch.zeros(1)),
    "an attribute": lambda m: setattr(m.conv1, "stride", (1, 1)),
    "a new attribute": lambda m: setattr(m, "last", 1),
    "a parameter": lambda m: setattr(m, "conv2", nn.Conv2d(16, 16, 3)),
    "a value": lambda m: m.bn.running_mean.add_(1),
    "a gradient": lambda m: setattr(m.conv1.weight, "grad", torch.zeros_like(m.conv1.weight)),
    "a forward": lambda m: setattr(m.conv1, "forward", m.conv2.forward),
    "memory": lambda m: setattr(m.conv1.weight, "data", m.conv1.weight.data.clone()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_comparison_sees_a_change(what):
    """Twin of the tests above: without it they could pass by seeing nothing."""
    model = Residual().eval()
    before = snapshot(model)
    CHANGES[what](model)
    assert snapshot(model) != before


def test_the_comparison_sees_what_is_hidden_in_containers():
    model = Hidden()
    before = snapshot(model)
    model.convs[0].weight.data.add_(1)
    model.by_name["pool"][0].stride = 3
    assert snapshot(model) != before


def test_the_comparison_sees_the_surroundings():
    before = surroundings()
    torch.rand(1)
    assert surroundings() != before
    before = surroundings()
    with torch.no_grad():
        assert surroundings() != before
    with torch.device("meta"):
        assert surroundings() != before


LARGE = """
from pathlib import Path
import torch
from torch import nn
from stridewise.tracing.trace import trace

def most():  # getrusage would count what the process that started this one held when it did
    return next(int(r.split()[1]) for r in Path("/proc/self/status").read_text().splitlines() if r[:6] == "VmHWM:")

start = most()
with torch.device("meta"):
    conv = lambda k: nn.Conv2d(2048, 2048, k, 1, k // 2)
    block = lambda: nn.Sequential(conv(3), nn.BatchNorm2d(2048), nn.ReLU(), conv(1))
    model = nn.Sequential(nn.Conv2d(3, 2048, 3, 4, 1), *(block() for _ in range(15)))
graph = trace(model, (3, 512, 512))
assert graph.params > 600e6, graph.params
print(most() // 1024, start // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak")
def test_a_model_of_600_million_parameters_traces_in_less_than_a_gibibyte():
    run = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    peak, start = map(int, run.stdout.split())
    assert peak < 1024
    assert peak - start < 200, "MiB above what importing torch takes"
