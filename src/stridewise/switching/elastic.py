"""One set of weights under several plans: which plan runs is switched in microseconds, and nothing is traced again.

Norms keep running statistics of their own for every plan, since what they normalise differs with the strides (as
switchable batch norms do for widths: Yu et al. 2019, "Slimmable Neural Networks", section 3.2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from stridewise.analyses import cost
from stridewise.errors import PlanError
from stridewise.fronts.front import plans_at
from stridewise.ir import Graph
from stridewise.measuring.latency import Latency, latency
from stridewise.plans import Plan
from stridewise.surgery.apply import apply_to_model
from stridewise.surgery.export import export_onnx
from stridewise.surgery.undo import Undo
from stridewise.tracing.trace import InputSpec, trace

LEAST, MOST = 2, 8
COSTS = (0.25, 0.5, 1.0, 2.0)
Adapt = Callable[[nn.Module, Undo], None]
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_AFFINE = ("weight", "bias")


class _Own(nn.Module):
    """What is one plan's own, by module path: what the batch norms hold, and tables that a plan makes anew."""

    def __init__(
        self, norms: Mapping[str, _NormBase], tables: Mapping[tuple[str, str], torch.Tensor], affine: bool, fresh: bool
    ) -> None:
        super().__init__()
        for path, norm in norms.items():
            for name in _STATISTICS:
                value = norm._buffers.get(name)
                self.register_buffer(_key(path, name), value.clone() if fresh and value is not None else value)
            for name in _AFFINE if affine else ():
                parameter = norm._parameters.get(name)
                self.register_parameter(
                    _key(path, name), _twin(parameter) if fresh and parameter is not None else parameter
                )
        for (path, name), value in tables.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(_key(path, name), value)
            else:
                self.register_buffer(_key(path, name), value)


def _twin(value: torch.Tensor) -> Any:
    """The same numbers, to be learnt apart."""
    copied = value.detach().clone()
    return nn.Parameter(copied, value.requires_grad) if isinstance(value, nn.Parameter) else copied


def _key(path: str, name: str) -> str:
    """A name for a tensor of the module at `path`: names of buffers hold no dots."""
    return f"{path.replace('.', '/')}:{name}"


class Elastic(nn.Module):
    """`model` under any of `plans`, with one set of weights; `use` says which. Made by `sw.elastic`.

    plans: by name, in the order given. costs: multiply-adds under each, as a share of the network as it is. active: the
    name of the plan in use, the first to begin with. inside: path of the part of `model` the plans are for; the norms
    of all of it keep statistics of their own. A position table that any plan resamples is each plan's own. adapt:
    called with `model` under every plan in turn, to make further changes that go with it. A layer is replaced (by a
    synchronised norm, say) before, not after.
    """

    def __init__(
        self,
        model: nn.Module,
        plans: Mapping[str, Plan],
        *,
        input: InputSpec | None = None,
        own_affine: bool = False,
        inside: str = "",
        adapt: Adapt | None = None,
    ) -> None:
        super().__init__()
        _check(plans)
        spec = input or next((p.input for p in plans.values() if p.input), None) or (3, 224, 224)
        graph = trace(model.get_submodule(inside), spec)
        self.model = model
        self.plans = dict(plans)
        self.input = spec
        self.inside = inside
        self.active = next(iter(plans))
        part = model.get_submodule(inside)
        self._changes: dict[str, Undo] = {}
        made: dict[str, dict[tuple[str, str], torch.Tensor]] = {}
        paths = {module: path for path, module in model.named_modules()}
        self.costs: dict[str, float] = {}
        now = _macs(graph)
        for name, plan in plans.items():
            try:
                done = apply_to_model(part, plan, input=spec)
            except PlanError as error:
                raise PlanError(f"plan '{name}': {error}") from error
            self.costs[name] = _macs(done.graph) / now
            try:
                if adapt is not None:
                    adapt(model, done._undo)
            except PlanError as error:
                raise PlanError(f"plan '{name}': {error}") from error
            finally:
                done.undo()
            self._changes[name] = done._undo
            made[name] = {(paths[owner], key): value for owner, key, value in done._undo.take_tensors()}
        held = {(path, key): getattr(model.get_submodule(path), key) for each in made.values() for path, key in each}
        self._norms = {path: m for path, m in model.named_modules() if isinstance(m, _NormBase)}
        self.statistics = nn.ModuleDict(
            {
                _entry(name): _Own(
                    self._norms,
                    {key: made[name].get(key, _twin(value) if number else value) for key, value in held.items()},
                    own_affine,
                    fresh=number > 0,
                )
                for number, name in enumerate(plans)
            }
        )
        self._links: list[tuple[nn.Module, str, str]] = [
            (norm, kind, _key(path, kind)) for path, norm in self._norms.items() for kind in _STATISTICS
        ]
        own = self._norms.items() if own_affine else ()
        self._affine: list[tuple[nn.Module, str, str]] = [
            (norm, kind, _key(path, kind)) for path, norm in own for kind in _AFFINE
        ]
        for (path, kind), value in held.items():
            links = self._affine if isinstance(value, nn.Parameter) else self._links
            links.append((model.get_submodule(path), kind, _key(path, kind)))
        self._places = [(model.get_submodule(p.rpartition(".")[0]), p.rpartition(".")[2]) for p in self._norms if p]
        self.register_load_state_dict_post_hook(_relink)  # type: ignore[no-untyped-call]
        self._changes[self.active].again()
        self._link(self.active)

    def use(self, plan: str | Plan) -> Elastic:
        """Run under this plan, by its name or itself, from now on; returns the module. Raises: PlanError."""
        name = self._name(plan)
        if name != self.active:
            self._changes[self.active].everything()
            self._changes[name].again()
            self._link(name)
            self.active = name
        return self

    @contextmanager
    def using(self, plan: str | Plan) -> Iterator[Elastic]:
        """Run under this plan for a while."""
        before = self.active
        try:
            yield self.use(plan)
        finally:
            self.use(before)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own, under the plan in use."""
        # Asked here so that torch.compile keeps a graph for every plan: it does not look at hooks again.
        if self.active not in self._changes:
            raise PlanError(f"no plan is named '{self.active}'")
        return self.model(*args, **kwargs)

    def fit_budget(self, ms: float, x: torch.Tensor | None = None, *, rounds: int = 20) -> tuple[Latency, ...]:
        """Use the dearest plan that takes at most `ms` milliseconds a call here; what was measured, by plan.

        x: what it is called with, one picture of the input's size unless given. All plans are measured in turn in one
        run; the median decides. Raises: PlanError where even the fastest plan takes longer.
        """
        x = _example(self.input) if x is None else x

        def call(name: str) -> Callable[[Any], Any]:
            return lambda batch: self.use(name)(batch)

        before, was = self.active, self.training
        self.eval()
        try:
            times = latency({name: call(name) for name in self.plans}, x, rounds=rounds)
        finally:
            self.use(before).train(was)
        within = [row.name for row in times if 1e3 * row.median <= ms]
        if not within:
            fastest = min(times, key=lambda row: row.median)
            raise PlanError(f"no plan takes {ms:g} ms or less here; the fastest, {fastest}")
        self.use(max(within, key=lambda name: self.costs[name]))
        return times

    def export(self, path: str | Path) -> dict[str, float]:
        """An ONNX file a plan, "net.onnx" as net-0.5x.onnx and so on; by plan, the largest relative difference of its
        outputs in onnxruntime. What lies under a name already is replaced. Raises: PlanError.
        """
        path, before, modes = Path(path), self.active, [(m, m.training) for m in self.modules()]
        try:
            return {
                name: export_onnx(self.use(name).model, self.input, path.with_name(f"{path.stem}-{_file(name)}.onnx"))
                for name in self.plans
            }
        finally:
            self.use(before)
            for module, was in modes:
                module.training = was

    def apart(self) -> dict[str, nn.Module]:
        """A copy of the network under each plan, by name: what `sw.measure` takes to compare them."""
        out = {}
        for name in self.plans:
            with self.using(name):
                out[name] = copy.deepcopy(self).model
        return out

    def reset_norms(self, plan: str | Plan | None = None) -> None:
        """Forget the statistics of the batch norms under one plan, or all, so that they are measured anew."""
        for name in self.plans if plan is None else [self._name(plan)]:
            with self.using(name):
                for norm in self._norms.values():
                    norm.reset_running_stats()

    def calibrate(self, batches: Callable[[], Iterator[torch.Tensor]], plan: str | Plan | None = None) -> None:
        """Measure the statistics of the batch norms anew, as plain means over `batches()`, under one plan or all.

        A norm that is frozen (in eval mode while the network trains), or that no batch reaches, keeps what it has.
        Raises: PlanError where `batches()` gives none, or a frozen norm has no statistics; a plan then keeps its own.
        """
        modes = [(module, module.training) for module in self.modules()]
        frozen = [norm for norm in self._norms.values() if self.training and not norm.training]
        try:
            for name in self.plans if plan is None else [self._name(plan)]:
                with self.using(name), torch.no_grad():
                    self.train()
                    for norm in frozen:
                        norm.eval()
                    self._measure_norms(name, batches)
        finally:
            for module, was in modes:
                module.training = was

    def _measure_norms(self, name: str, batches: Callable[[], Iterator[torch.Tensor]]) -> None:
        """`calibrate` under the plan in use, called `name`."""
        before = []
        for path, norm in self._norms.items():
            if norm.running_mean is None or norm.running_var is None:
                continue
            if norm.training:
                held: list[Any] = [norm._buffers[kind] for kind in _STATISTICS]
                before.append((norm, norm.momentum, [(buffer, buffer.clone()) for buffer in held]))
            elif not norm.running_mean.any() and bool((norm.running_var == 1).all()):
                raise PlanError(
                    f"calibrate: the norm '{path}' is frozen and has no statistics: let it train, or load weights that "
                    "have them"
                )
        count, whole = 0, False
        try:
            for norm, _, _ in before:
                norm.reset_running_stats()
                norm.momentum = None  # torch: the plain mean of all batches
            for batch in batches():
                self(batch)
                count += 1
            if not count:
                raise PlanError(f"calibrate: batches() gave none for plan '{name}': it is called anew for every plan")
            whole = True
        finally:
            for norm, momentum, values in before:
                norm.momentum = momentum
                for buffer, value in () if whole and norm.num_batches_tracked else values:
                    buffer.copy_(value)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """One set of weights, the same whichever plan is in use."""
        with self._parked():
            return super().state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's; what is loaded holds for every plan."""
        with self._parked():
            return super().load_state_dict(*args, **kwargs)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """As torch's, in one order whichever plan is in use: an optimizer's state holds for it."""
        with self._parked():
            return iter(list(super().named_parameters(*args, **kwargs)))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Also of a load through a parent: what is loaded is of the first plan."""
        self._link(next(iter(self.plans)))
        super()._load_from_state_dict(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's (device, dtype). A tensor that the model and the first plan share is shared again after it."""
        with self._parked():
            return super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]

    @contextmanager
    def _parked(self) -> Iterator[None]:
        """With the first plan's statistics in the model, and the active plan's again behind it."""
        first = next(iter(self.plans))
        self._link(first)
        try:
            yield
        finally:
            self._link(self.active)

    def _link(self, name: str) -> None:
        """Let batch norms and tables hold what they hold under a plan."""
        for (parent, last), norm in zip(self._places, (n for p, n in self._norms.items() if p), strict=True):
            if parent._modules[last] is not norm:
                raise PlanError(f"use: the norm '{last}' was replaced since: replace layers first, then sw.elastic")
        held: Any = self.statistics[_entry(name)]
        for module, kind, key in self._links:
            module._buffers[kind] = held._buffers[key]
        for module, kind, key in self._affine:
            module._parameters[kind] = held._parameters[key]

    def _name(self, plan: str | Plan) -> str:
        if isinstance(plan, str):
            if plan in self.plans:
                return plan
        else:
            for name, known in self.plans.items():
                if known == plan:
                    return name
        said = f"'{plan}'" if isinstance(plan, str) else "the plan given"
        raise PlanError(f"use: {said} is none of this network's plans: {', '.join(self.plans)}")

    def extra_repr(self) -> str:
        """The plans and their costs."""
        return ", ".join(
            f"{name}: {cost:.2f} of its multiply-adds{', in use' if name == self.active else ''}"
            for name, cost in self.costs.items()
        )


def _relink(net: nn.Module, _: object) -> None:
    """After a load, also one through a parent: norms hold what was loaded for the plan in use."""
    assert isinstance(net, Elastic)
    net._link(net.active)


def elastic(
    model: nn.Module,
    plans: Mapping[str, Plan] | Sequence[Plan] | None = None,
    *,
    costs: Sequence[float] = COSTS,
    input: InputSpec | None = None,
    own_affine: bool = False,
) -> Elastic:
    """`model` with one set of weights and 2 to 8 plans; `use(name)` switches between them; it holds the model.

    plans: by name, or in order, named by their cost ("0.5x"). Without any, one for each of `costs` (multiply-adds as a
    share of the network as it is): the plan of the cost front that computes most within it; 1 is the network as it is.
    input: as `sw.trace` takes it. own_affine: batch norms keep scale and shift of their own for every plan too, and not
    only statistics. Raises: PlanError for a plan of another network, one that changes the weights' shapes, or fewer
    than 2 or more than 8 plans.

    >>> import stridewise as sw, torch
    >>> net = sw.elastic(sw.load("builtin:resnet20"), costs=(0.5, 1), input=(3, 32, 32))
    >>> list(net.plans), net.active
    (['0.5x', '1x'], '0.5x')
    >>> net.use("1x")(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 10])
    """
    if plans is None:
        spec = input or (3, 224, 224)
        named: Mapping[str, Plan] = plans_at(trace(model, spec), costs)
        return Elastic(model, named, input=spec, own_affine=own_affine)
    if isinstance(plans, Mapping):
        return Elastic(model, plans, input=input, own_affine=own_affine)
    spec = input or next((p.input for p in plans if p.input), None) or (3, 224, 224)
    _check({str(number): plan for number, plan in enumerate(plans)})
    trial = Elastic(copy.deepcopy(model), {str(number): plan for number, plan in enumerate(plans)}, input=spec)
    return Elastic(model, _named_by_cost(plans, trial.costs.values()), input=spec, own_affine=own_affine)


def _macs(graph: Graph) -> int:
    return cost.macs(graph, [g.sizes for g in graph.grids])


def _example(spec: Any) -> torch.Tensor:
    shape = next(iter(spec.values())) if isinstance(spec, Mapping) else spec
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def _entry(name: str) -> str:
    """The name of a plan's entry among the modules: no dots there."""
    return name.replace(".", "_")


def _file(name: str) -> str:
    """A plan's name as a part of a file's."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def _named_by_cost(plans: Sequence[Plan], shares: Any) -> dict[str, Plan]:
    """Plans by their cost ("0.46x"); where two cost the same, numbered."""
    named: dict[str, Plan] = {}
    for plan, share in zip(plans, shares, strict=True):
        base = f"{share:.2g}x"
        name = next(n for n in (base, *(f"{base}#{i}" for i in range(2, MOST + 2))) if n not in named)
        named[name] = plan
    return named


def _check(plans: Mapping[str, Plan]) -> None:
    if not LEAST <= len(plans) <= MOST:
        raise PlanError(f"elastic: {LEAST} to {MOST} plans are wanted, not {len(plans)}")
    if min(len({as_key(name) for name in plans}) for as_key in (_entry, _file)) < len(plans) or not all(plans):
        raise PlanError(f"elastic: plans need names that differ: {', '.join(plans)}")
    for name, plan in plans.items():
        if not isinstance(plan, Plan):
            raise PlanError(f"elastic: '{name}' is a {type(plan).__name__}; make a plan by sw.plan(graph, ...)")
        grown = [key for key, setting in plan.sites.items() if setting.downsample == "space-to-depth"]
        if grown:
            raise PlanError(
                f"plan '{name}': {grown[0]}: space-to-depth changes the shape of its weights, which all plans share; "
                "take another kind there"
            )
