"""One set of weights under several plans: bit for bit what each plan gives when it is applied alone."""

import contextlib
import copy
import random
import time
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.distributed as dist
from torch import nn

import stridewise as sw
from strategies import network
from stridewise.errors import PlanError, UsageError
from stridewise.switching.cascade import Cascade, cascade_curve
from stridewise.switching.elastic import Elastic

INPUT = (3, 45, 39)


class Net(nn.Module):
    """A stem, a residual stage with batch norms, and a head; functional pool too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.main = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12))
        self.side = nn.Conv2d(8, 12, 1, 2)
        self.after = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.fc = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.main(x) + self.side(x))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        return self.fc(self.after(x).mean((2, 3)))


def plans(model: nn.Module) -> dict[str, sw.Plan]:
    graph = sw.trace(model, INPUT)
    return {
        "as it is": sw.Plan(input=INPUT),
        "fine": sw.plan(graph, {"stem.0": 1}),
        "kept": sw.plan(graph, {"main.0": 1}, keep_weights=True),
        "coarse": sw.plan(graph, {"+stem": 2, "max_pool2d": "2:blur:3"}),
    }


def picture(n: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, *INPUT, generator=torch.Generator().manual_seed(seed))


def made(**options: bool) -> Elastic:
    torch.manual_seed(0)
    model = Net()
    return sw.elastic(model, plans(model), input=INPUT, **options)


@pytest.mark.parametrize("name", ["as it is", "fine", "kept", "coarse"])
def test_each_plan_gives_what_it_gives_alone(name: str) -> None:
    net = made().eval()
    torch.manual_seed(0)
    alone = Net().eval()
    if net.plans[name]:
        sw.apply(alone, net.plans[name])
    for other in [*net.plans, name]:
        net.use(other)
    assert torch.equal(net(picture()), alone(picture()))
    assert torch.equal(net.use(net.plans[name])(picture()), alone(picture()))


def test_norms_keep_statistics_of_their_own_and_weights_are_one_set() -> None:
    net = made().train()
    alone = {}
    for name, plan in plans(Net()).items():
        torch.manual_seed(0)
        alone[name] = Net()
        if plan:
            sw.apply(alone[name], plan, input=INPUT)
    for step, name in enumerate(["fine", "coarse", "fine", "as it is", "kept", "coarse"]):
        net.use(name)(picture(4, step))
        alone[name].train()(picture(4, step))
    net.eval()
    for name, model in alone.items():
        assert torch.equal(net.use(name)(picture()), model.eval()(picture())), name
    assert len({tuple(net.use(n).model.main[1].running_mean.tolist()) for n in net.plans}) == 4
    assert len({id(net.use(n).model.main[1].weight) for n in net.plans}) == 1


def test_own_affine_has_parameters_of_its_own_for_every_plan() -> None:
    net = made(own_affine=True)
    assert len({id(net.use(n).model.main[1].weight) for n in net.plans}) == 4
    assert len({id(net.use(n).model.main[0].weight) for n in net.plans}) == 1
    for active in net.plans:  # an optimizer finds them all, whatever is in use
        assert len(list(net.use(active).parameters())) == len(list(Net().parameters())) + 3 * 6


@pytest.mark.parametrize("own_affine", [False, True])
def test_state_dict_is_one_whatever_is_in_use_and_comes_back(own_affine: bool) -> None:
    net = made(own_affine=own_affine).train()
    for step, name in enumerate(net.plans):
        net.use(name)(picture(4, step))
    net.eval()
    outputs = {name: net.use(name)(picture()) for name in net.plans}
    states = [{k: v.clone() for k, v in net.use(name).state_dict().items()} for name in net.plans]
    assert all(list(s) == list(states[0]) for s in states)
    assert all(torch.equal(s[k], states[0][k]) for s in states for k in s)
    for active in net.plans:
        torch.manual_seed(1)
        other = Net()
        twin = sw.elastic(other, plans(other), input=INPUT, own_affine=own_affine).eval().use(active)
        twin.load_state_dict(states[0])
        for name in net.plans:
            assert torch.equal(twin.use(name)(picture()), outputs[name])


@pytest.mark.parametrize("active", ["as it is", "coarse"])
def test_copies_and_casts_switch_their_own_modules(active: str) -> None:
    net = made().train()
    for step, name in enumerate(net.plans):
        net.use(name)(picture(4, step))
    net.eval().use(active)
    before = {name: net.use(name)(picture()) for name in net.plans}
    net.use(active)
    twin = copy.deepcopy(net)
    wide = copy.deepcopy(net).double()
    for name in net.plans:
        assert torch.equal(twin.use(name)(picture()), before[name])
        assert torch.allclose(wide.use(name)(picture().double()).float(), before[name], atol=1e-5)
        assert wide.model.main[1].running_mean.dtype == torch.float64
    assert net.active == active
    assert torch.equal(net(picture()), before[active])


@pytest.mark.parametrize("assign", [False, True])
def test_a_load_through_a_parent_holds_for_the_plan_in_use(assign: bool) -> None:
    net = made().train()
    for step, name in enumerate(net.plans):
        net.use(name)(picture(4, step))
    net.eval().use("fine")
    state = {k: v.clone() for k, v in nn.ModuleDict({"net": net}).state_dict().items()}
    twin = made().eval().use("coarse")
    nn.ModuleDict({"net": twin}).load_state_dict(state, assign=assign)
    for name in ("coarse", "as it is", "fine"):
        assert torch.equal(twin.use(name)(picture()), net.use(name)(picture())), name


class Placed(nn.Module):
    """A table of positions, one for each of its map's, and a buffer beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.pos = nn.Parameter(torch.randn(1, 4, 8, 8))
        self.fc = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.stem(x) + self.pos).relu().mean((2, 3)))


@pytest.mark.parametrize("first", ["as it is", "fine"])
def test_a_position_table_is_each_plan_s_own(first: str) -> None:
    def net(seed: int) -> Elastic:
        torch.manual_seed(seed)
        model = Placed()
        fine = sw.plan(sw.trace(model, (3, 16, 16)), {"stem": 1})
        named = {"as it is": sw.Plan(), "fine": fine, "again": sw.Plan(input=(3, 16, 16))}
        return sw.elastic(model, {first: named[first], **named}, input=(3, 16, 16))

    one, x = net(0), torch.randn(2, 3, 16, 16)
    assert one.use("fine").model.pos.shape == (1, 4, 16, 16)
    assert one.use("as it is").model.pos.shape == (1, 4, 8, 8)
    orders = [[(key, id(p)) for key, p in one.use(name).named_parameters()] for name in one.plans]
    assert orders[0] == orders[1] == orders[2]
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    before = {name: one.use(name).model.pos.detach().clone() for name in one.plans}
    for learns in ("fine", "again"):
        optimizer.zero_grad()
        one.use(learns)(x).square().sum().backward()
        optimizer.step()
        assert not torch.equal(one.model.pos, before[learns])
        assert torch.equal(one.use("as it is").model.pos, before["as it is"])
    said = {name: one.use(name)(x) for name in one.plans}
    for saved, active in (("as it is", "fine"), ("fine", "as it is"), ("fine", "fine")):
        state = {f"net.{key}": value.clone() for key, value in one.use(saved).state_dict().items()}
        for assign in (False, True):
            twin = net(1).use(active)
            nn.ModuleDict({"net": twin}).load_state_dict(state, assign=assign)
            for name in (active, *one.plans):
                assert torch.equal(twin.use(name)(x), said[name]), (saved, active, name)
    wide = copy.deepcopy(one.use("fine")).double()
    assert all(wide.use(name).model.pos.dtype == torch.float64 for name in wide.plans)
    assert torch.allclose(wide.use("fine")(x.double()).float(), said["fine"], atol=1e-5)


def test_parameters_come_in_one_order_whatever_is_in_use() -> None:
    net = made(own_affine=True)
    orders = [[(name, id(p)) for name, p in net.use(plan).named_parameters()] for plan in net.plans]
    assert all(order == orders[0] for order in orders)


def test_instance_norms_keep_statistics_of_their_own_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.InstanceNorm2d(4, track_running_stats=True))
    finer = sw.plan(sw.trace(model, INPUT), {"0": 1})
    net = sw.elastic(model, {"as it is": sw.Plan(), "fine": finer}, input=INPUT).train()
    net.use("fine")(picture())
    assert net.use("fine").model[1].running_mean.abs().sum() > 0
    assert net.use("as it is").model[1].running_mean.abs().sum() == 0


def test_a_norm_replaced_afterwards_is_refused() -> None:
    net = nn.SyncBatchNorm.convert_sync_batchnorm(made())
    with pytest.raises(PlanError, match="was replaced since"):
        net.use("coarse")


def test_it_comes_back_from_a_file_whole(tmp_path: Path) -> None:
    net = made().eval()
    torch.save(net, tmp_path / "net.pt")
    twin = torch.load(tmp_path / "net.pt", weights_only=False)  # our own file
    for name in net.plans:
        assert torch.equal(twin.use(name)(picture()), net.use(name)(picture())), name


def test_export_writes_a_file_a_plan_that_says_the_same(tmp_path: Path) -> None:
    net = made().train().use("fine")
    net(picture(8))
    off = net.export(tmp_path / "net.onnx")
    files = ["net-as-it-is.onnx", "net-fine.onnx", "net-kept.onnx", "net-coarse.onnx"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    assert list(off) == list(net.plans)
    assert max(off.values()) < 1e-5
    assert net.training
    assert net.active == "fine"
    x = picture(1)
    said = {name: net.eval().use(name)(x) for name in net.plans}
    for name, file in zip(net.plans, files, strict=True):
        (there,) = onnxruntime.InferenceSession(tmp_path / file).run(None, {"input": x.numpy()})
        assert torch.allclose(torch.from_numpy(there), said[name], atol=1e-5), name


@pytest.mark.parametrize("seed", [3, 4, 5, 11])
def test_drawn_networks_give_what_each_plan_gives_alone(seed: int) -> None:
    drawn, rng = network(seed), random.Random(seed)
    graph = sw.trace(drawn.model, drawn.shape)
    named = {"as it is": sw.Plan(input=drawn.shape)}
    steps = [(site.key, step) for site in graph.sites for step in (1, 2)]
    for key, step in rng.sample(steps, len(steps)):
        with contextlib.suppress(PlanError):  # it does not fit: nothing to switch to
            plan = sw.plan(graph, {key: step})
            if plan and len(named) < 4:
                named[f"{key} {step}"] = plan
    assert len(named) > 1
    x = torch.randn(1, *drawn.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    alone = {}
    for name, plan in named.items():
        model = copy.deepcopy(drawn.model)
        if plan:
            sw.apply(model, plan, input=drawn.shape)
        alone[name] = model(x)
    net = sw.elastic(drawn.model, named, input=drawn.shape).eval()
    for name in [*named, *reversed(named)]:
        assert torch.equal(net.use(name)(x), alone[name]), name


@pytest.mark.parametrize("seed", range(4))
def test_steps_in_any_order_of_plans_are_those_of_a_plain_network(seed: int) -> None:
    net = made().train()
    order = random.Random(seed).choices(list(net.plans), k=5)
    torch.manual_seed(0)
    plain = Net().train()
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.1, momentum=0.9) for each in (net, plain)]
    for step, name in enumerate(order):
        done = sw.apply(plain, net.plans[name], input=INPUT) if net.plans[name] else None
        for model, optimizer in zip((net.use(name), plain), optimizers, strict=True):
            optimizer.zero_grad()
            model(picture(4, step)).square().mean().backward()
            optimizer.step()
        if done is not None:
            done.undo()
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            assert torch.equal(one, other), (order, step)


def test_gradients_of_a_wrapped_one_are_its_own(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net, twin = made().train(), made().train()
        wrapped = nn.parallel.DistributedDataParallel(net)
        for step, name in enumerate(["coarse", "fine", "kept", "coarse"]):
            net.use(name)
            twin.use(name)
            wrapped(picture(4, step)).square().mean().backward()
            twin(picture(4, step)).square().mean().backward()
            for one, other in zip(net.parameters(), twin.parameters(), strict=True):
                assert torch.equal(one.grad, other.grad), name
    finally:
        dist.destroy_process_group()


def test_compiled_it_keeps_a_graph_for_every_plan() -> None:
    torch._dynamo.reset()
    net = made().eval()
    compiled = torch.compile(net, backend="eager")
    for name in [*net.plans, *net.plans]:
        net.use(name)
        with torch.no_grad():
            assert torch.equal(compiled(picture()), net(picture())), name


def test_calibrate_measures_the_norms_anew() -> None:
    net = made().eval()
    batches = [picture(4, seed) for seed in range(3)]
    net.calibrate(lambda: iter(batches), "fine")
    torch.manual_seed(0)
    alone = Net()
    sw.apply(alone, net.plans["fine"])
    inputs: list[torch.Tensor] = []
    alone.main[1].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    alone.train()
    for batch in batches:
        alone(batch)
    wanted = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    assert torch.allclose(net.use("fine").model.main[1].running_mean, wanted, atol=1e-6)
    assert torch.equal(net.use("coarse").model.main[1].running_mean, torch.zeros(12))
    assert not net.training
    assert net.model.main[1].momentum == 0.1


def test_calibrate_leaves_no_norm_without_statistics() -> None:
    net = made().train()
    for step, name in enumerate(net.plans):
        net.use(name)(picture(4, step))
    before = {k: v.clone() for k, v in net.state_dict().items()}

    def same() -> bool:
        return all(torch.equal(v, before[k]) for k, v in net.state_dict().items())

    once = iter([picture(4)])
    for batches in (lambda: iter(()), lambda: iter([picture(4), torch.zeros(4, 2, 45, 39)])):
        with pytest.raises((PlanError, RuntimeError)):
            net.calibrate(batches)
        assert same()
    with pytest.raises(PlanError, match="gave none for plan 'fine': it is called anew"):
        net.calibrate(lambda: once)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    net.calibrate(lambda: iter([picture(4, 9)]))
    assert same()
    assert net.training
    assert not norms[0].training
    net.reset_norms("coarse")
    with pytest.raises(PlanError, match=r"'stem\.1' is frozen and has no statistics"):
        net.calibrate(lambda: iter([picture(4)]))


def test_measure_takes_it_apart() -> None:
    net = made().eval().use("fine")
    before = {name: net.use(name)(picture()) for name in net.plans}
    parts = net.use("fine").apart()
    found = sw.measure(parts, what=["latency", "memory"], input=INPUT, rounds=10)
    assert [row.name for row in found.rows] == list(net.plans)
    macs = [row.exact.macs for row in found.rows]
    assert [m / macs[0] for m in macs] == pytest.approx(list(net.costs.values()))
    assert all(torch.equal(parts[name](picture()), before[name]) for name in parts)
    assert net.active == "fine"
    with pytest.raises(UsageError, match="without plans"):
        sw.measure(parts, {"fine": net.plans["fine"]}, input=INPUT)


def test_plans_by_cost_and_a_budget() -> None:
    model = sw.load("builtin:resnet20").eval()
    net = sw.elastic(model, costs=(0.25, 0.5, 1, 2), input=(3, 32, 32)).eval()
    assert list(net.plans) == ["0.25x", "0.5x", "1x", "2x"]
    assert all(0.7 * c <= net.costs[f"{c:g}x"] <= c for c in (0.25, 0.5, 1, 2))
    times = net.fit_budget(1e4, rounds=10)
    assert net.active == "2x"
    assert [t.name for t in times] == list(net.plans)
    with pytest.raises(PlanError, match="no plan takes 1e-06 ms or less here"):
        net.fit_budget(1e-6, rounds=10)
    assert net.active == "2x"


def test_a_cascade_asks_the_dearer_plan_only_where_it_is_unsure() -> None:
    net = made().eval()
    x = picture(16)
    with torch.no_grad():
        logits = {name: net.use(name)(x) for name in ("coarse", "as it is")}
        sure = logits["coarse"].softmax(1).amax(1)
        cut = float(sure.median())
        cascade = Cascade(net, [cut], ["coarse", "as it is"])
        out = cascade(x)
    unsure = sure < cut
    assert 0 < int(unsure.sum()) < 16
    assert torch.equal(out[~unsure], logits["coarse"][~unsure])
    assert torch.allclose(out[unsure], logits["as it is"][unsure], atol=1e-6)
    assert cascade.share == pytest.approx(net.costs["coarse"] + net.costs["as it is"] * float(unsure.double().mean()))
    labels = torch.randint(0, 5, (16,), generator=torch.Generator().manual_seed(0))
    for point in cascade_curve(logits, labels, net.costs):
        again = Cascade(net, [point.threshold], point.names)
        right = (again(x).argmax(1) == labels).double().mean()
        if point.threshold < 1:  # at 1 all go on but those that are sure beyond rounding
            assert float(right) == pytest.approx(point.accuracy)
            assert again.share == pytest.approx(point.cost)


def test_what_cannot_be_elastic_is_said_in_one_line() -> None:
    model = Net()
    graph = sw.trace(model, INPUT)
    grown = sw.plan(graph, {"stem.0": "2:space-to-depth"})
    before = {k: v.clone() for k, v in model.state_dict().items()}
    other = sw.plan(sw.trace(sw.load("builtin:resnet20"), (3, 32, 32)), {"+layers.3": 1})
    cases = {
        "space-to-depth changes the shape": {"a": grown, "b": sw.Plan()},
        "2 to 8 plans are wanted, not 1": {"a": sw.Plan()},
        "plan 'b': ": {"a": sw.Plan(), "b": other},
        "names that differ": {"0.5": sw.Plan(), "0_5": sw.Plan()},
    }
    for said, given in cases.items():
        with pytest.raises(PlanError, match=said) as error:
            sw.elastic(model, given, input=INPUT)
        assert "\n" not in str(error.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    with pytest.raises(PlanError, match="none of this network's plans: as it is, fine, kept, coarse"):
        made().use("dear")
    with pytest.raises(PlanError, match="leave that cost out"):
        sw.elastic(Net(), costs=(1e-6, 1), input=INPUT)


def test_a_switch_traces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = made().eval()
    monkeypatch.setattr(nn.Module, "__call__", lambda *_: pytest.fail("a module was called"))
    start = time.perf_counter()
    for name in list(net.plans) * 50:
        net.use(name)
    assert time.perf_counter() - start < 60  # not a bound on speed: a trace of this network takes far longer 200 times
