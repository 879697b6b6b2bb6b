"""A model under a plan with kept weights is a model like any other. One test for each thing people do with models."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import stridewise as sw
from stridewise.surgery.verify import randomise

from .networks import Blur, Branches, Functional

pytestmark = pytest.mark.filterwarnings("ignore")
SIZE = (3, 47, 64)


class Mixed(nn.Module):
    """Attributes, hooks (a pool with ceil_mode), replaced calls of a module (blur, average) and of its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1, bias=False), nn.BatchNorm2d(3))
        self.branches = Branches(Blur())
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.join = nn.Conv2d(6, 3, 1)
        self.calls = Functional()
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.branches(F.relu(self.stem(x))))
        x = self.calls(F.interpolate(self.join(x), scale_factor=4.0))
        return self.head(x.mean((2, 3)))


def changed(means: str = "dense") -> nn.Module:
    torch.manual_seed(0)
    model = Mixed()
    randomise(model)
    plan = sw.plan(sw.trace(model, SIZE), output_stride=2, keep_weights=True, means=means)
    assert len(plan.sites) >= 4
    sw.apply(model, plan, input=SIZE)
    return model


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randn(count, *SIZE, generator=torch.Generator().manual_seed(1))


def test_its_state_dict_has_the_old_keys_and_fits_both_ways():
    plain, model = Mixed(), changed()
    assert list(plain.state_dict()) == list(model.state_dict())
    model.load_state_dict(plain.state_dict())
    plain.load_state_dict(changed().state_dict())


def test_it_trains():
    model = changed()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, wanted = pictures(8), torch.arange(8) % 5
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(model(x), wanted)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        optimizer.step()
        losses.append(float(loss))
    assert min(losses[-3:]) < 0.95 * losses[0]


def test_a_copy_and_a_saved_one_are_models_of_their_own():
    model = changed().eval()
    x, memory = pictures(), io.BytesIO()
    y = model(x)
    twin = copy.deepcopy(model)
    torch.save(model, memory)
    memory.seek(0)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    for other in (twin, torch.load(memory, weights_only=False)):
        assert torch.equal(other(x), y)
        assert other.training is False


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles(backend):
    torch._dynamo.reset()
    model = changed()
    compiled = torch.compile(copy.deepcopy(model), backend=backend)
    x = pictures()
    for mode in (True, False):
        model.train(mode)
        compiled.train(mode)
        assert torch.allclose(compiled(x), model(x), atol=1e-5)
    compiled(x).sum().backward()
    model(x).sum().backward()
    pairs = zip(compiled.parameters(), model.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, atol=1e-3) for a, b in pairs)


def test_torch_export_takes_it():
    model, x = changed("grid").eval(), pictures(1)
    program = torch.export.export(model, (x,))
    assert torch.allclose(program.module()(x), model(x), atol=1e-5)


def test_it_becomes_an_onnx_file(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from stridewise.surgery.export import export_onnx

    for means in ("dense", "grid"):
        assert export_onnx(changed(means), SIZE, tmp_path / "m.onnx") <= 1e-5
    graph = sw.read_onnx(tmp_path / "m.onnx")
    assert graph.sites


def test_channels_last_changes_the_layout_and_nothing_else():
    model, x = changed().eval(), pictures()
    y = model(x)
    twin = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert torch.allclose(twin(x.to(memory_format=torch.channels_last)), y, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_from_end_to_end(dtype):
    model, x = changed().eval(), pictures()
    seen: list[torch.dtype] = []
    twin = copy.deepcopy(model).to(dtype)
    for module in twin.modules():
        module.register_forward_hook(lambda m, a, y: seen.append(y.dtype))
    y = twin(x.to(dtype))
    assert set(seen) == {dtype}
    assert torch.isfinite(y).all()
    assert torch.allclose(y.float(), model(x), rtol=0.1, atol=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(model(x)).all()


def worker(rank: int, folder: str) -> None:
    """One of two processes: half of the batch each, the gradients those of the whole."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        model = changed().eval()  # batch statistics of half a batch are not those of the whole
        wrapped = nn.parallel.DistributedDataParallel(copy.deepcopy(model))
        x = pictures(4)
        wrapped(x[2 * rank : 2 * rank + 2]).pow(2).mean().backward()
        model(x).pow(2).mean().backward()
        pairs = zip(wrapped.module.named_parameters(), model.parameters(), strict=True)
        for (name, a), b in pairs:
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4), name
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed training")
def test_two_processes_train_it_together(tmp_path):
    torch.multiprocessing.spawn(worker, (str(tmp_path),), nprocs=2)
