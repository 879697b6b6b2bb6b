"""Whether a changed model still says what it said: old and new in float64 on random pictures, at several sizes.

The yardstick is what two unrelated pictures make of difference at the same places: where that is next to nothing the
network's answer hardly depends on the picture, and any change would pass.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.errors import PlanError, by
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.shown import Shown
from stridewise.surgery.apply import Done, apply_to_model
from stridewise.surgery.promise import larger
from stridewise.tracing.inputs import Argument, InputSpec, arguments_of, called, drawn
from stridewise.tracing.trace import _tensors, trace

# Relative to the yardstick: equal up to rounding; too little difference between pictures to tell anything by.
EQUAL, _LIVE = 1e-9, 1e-7
# Positions added to an input's axes for further sizes, so that every step leaves a remainder somewhere.
_MORE = ((1, 2, 3), (3, 5, 1))

_Answers: TypeAlias = tuple[list[torch.Tensor], list[torch.Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One map at one input size: what changed at the old positions, and at the neighbouring ones (`control`, None where
    there are none), relative to what two pictures differ by. difference: None where they hardly do."""

    input: str
    what: str
    difference: float | None
    control: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(Shown):
    """What `verify` saw. done: of the copy that the plan was carried out on; rows: a map at a size each."""

    done: Done
    rows: tuple[Compared, ...]

    @property
    def holds(self) -> bool | None:
        """Whether all that is certified was seen to be true; None where nothing could have shown the contrary."""
        certificate = self.done.certificate
        if certificate is None or not certificate.exact:
            return True
        # Outputs with more positions than before are maps too; a mean over positions is not certified.
        claimed = [r for r in self.rows if r.what == "feature map" or not certificate.means or r.control is not None]
        if any(row.difference is not None and not row.difference <= EQUAL for row in claimed):
            return False
        telling = [r for r in claimed if r.difference is not None and (r.control is None or r.control > EQUAL)]
        return True if telling else None

    @property
    def features(self) -> float | None:
        """The worst difference of the last feature map; None where that is an output itself, or nothing was told."""
        return self._worst("feature map")

    @property
    def outputs(self) -> float | None:
        """The worst difference of an output."""
        return self._worst("output")

    def _worst(self, what: str) -> float | None:
        told = [row.difference for row in self.rows if row.what == what and row.difference is not None]
        return max(told, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.verify/1"."""
        rows = [{"input": r.input, "what": r.what, "difference": r.difference, "control": r.control} for r in self.rows]
        return {"schema": "stridewise.verify/1", "holds": self.holds, "rows": rows, "apply": self.done.to_json()}

    def __str__(self) -> str:
        lines = [str(self.done)]
        for row in self.rows:
            told = row.difference
            said = "hardly depends on the picture" if told is None else f"relative difference {told:.1e} in float64"
            lines.append(f"{row.what} at {row.input}: {said}")
        ends = {
            True: "verified: the changed model was traced again, and every size is the promised one",
            False: "NOT verified: a map that is certified as exact differs",
            None: "not verifiable here: what is certified hardly depends on the picture, so that no change would show",
        }
        return "\n".join([*lines, ends[self.holds]])


def verify_model(
    model: nn.Module,
    plan: Plan,
    *,
    input: InputSpec | None = None,
    sizes: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> Verification:
    """Carry `plan` out on a float64 copy of `model`; with kept weights compare what both say at several input sizes.

    sizes: sizes to compare at besides the input's own (an entry an axis), two with remainders where none are given;
    those that the model as it is does not take are left out. Near-zero parameters are made random and batch norms
    set by the pictures first: a scale of zero or a dead activation would hide any error behind it.
    Raises: PlanError where the plan cannot be carried out.
    """
    spec = input or plan.input or (3, 224, 224)
    twin = copy.deepcopy(model).double().eval()
    randomise(twin, seed)
    specs = _specs(spec, sizes)
    calibrate(twin, _pictures(specs[0], seed + 1, 2))
    last = None if callable(getattr(twin, "forward_features", None)) else _last_map(trace(twin, spec))
    changed = copy.deepcopy(twin)
    done = apply_to_model(changed, plan, input=spec)
    rows: list[Compared] = []
    for turn, given in enumerate(specs if plan.keep_weights else ()):
        one, two = (_pictures(given, seed + 2 * turn + k) for k in (1, 2))
        try:
            old = _answers(twin, one, last), _answers(twin, two, last)
        except Exception:
            if turn == 0:
                raise
            continue  # the model as it is takes no such size
        rows += _rows(" and ".join(by(a.sizes) for a in given.values() if a.sizes), *old, _answers(changed, one, last))
    return Verification(done=done, rows=tuple(rows))


def compare(model: nn.Module, plan: Plan, *, input: InputSpec | None = None, seed: int = 0) -> Verification:
    """The same at the input's own size alone."""
    return verify_model(model, plan, input=input, sizes=(), seed=seed)


def _specs(spec: InputSpec, sizes: Sequence[Sequence[int]] | None) -> list[dict[str, Argument]]:
    """The inputs to compare at, the given one first."""
    named = arguments_of(spec)
    if sizes is None:
        return [named, *(larger(named, more) for more in _MORE)]
    return [named, *({k: a.measuring(size) for k, a in named.items()} for size in sizes)]


def _pictures(spec: Mapping[str, Argument], seed: int, count: int = 1) -> dict[str, Any]:
    return drawn(spec, torch.Generator().manual_seed(seed), torch.float64, count)


def _rows(at: str, old: _Answers, other: _Answers, new: _Answers) -> list[Compared]:
    """A row a map. old, other: what the model said of two pictures; new: what the changed one says of the first."""
    rows = []
    for what, *each in zip(("feature map", "output"), old, other, new, strict=True):
        for a, o, b in zip(*each, strict=True):
            steps = [n // m if m and n % m == 0 else 0 for n, m in zip(b.shape, a.shape, strict=False)]
            if a.dim() != b.dim() or 0 in steps:
                raise PlanError(f"an output measures {tuple(b.shape)} where it measured {tuple(a.shape)}: no multiple")
            if not a.is_floating_point() or a.shape != o.shape or not a.numel():
                continue
            yardstick = float((a - o).abs().max())
            if not yardstick > _LIVE * float(a.abs().max()):
                rows.append(Compared(input=at, what=what, difference=None))
                continue
            off = float((b[tuple(slice(None, None, s) for s in steps)] - a).abs().max()) / yardstick
            beside = None
            if max(steps) > 1:
                beside = float((b[tuple(slice(s - 1, None, s) for s in steps)] - a).abs().max()) / yardstick
            rows.append(Compared(input=at, what=what, difference=off, control=beside))
    return rows


def calibrate(model: nn.Module, pictures: Mapping[str, Any]) -> None:
    """Set the running statistics of batch norms by these pictures, in place; nothing where the model takes no batch."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    before = [(m.momentum, {k: v.clone() for k, v in m._buffers.items() if v is not None}) for m in norms]
    failed = False
    try:
        for norm in norms:
            norm.momentum = 1.0
            norm.train()
        with torch.no_grad():
            _run(model, pictures)
    except (RuntimeError, ValueError, TypeError, IndexError):
        failed = True  # of one position and one picture there is no variance; random statistics stay
    for norm, (momentum, held) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
        if failed or any(not torch.isfinite(v).all() for v in norm._buffers.values() if v is not None):
            norm._buffers.update(held)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Random values for every parameter and running statistic that is constant or near zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            flat = tensor.dim() <= 1 or tensor.numel() == tensor.shape[0] or float(tensor.abs().max()) < 1e-3
            if flat and (isinstance(tensor, nn.Parameter) or "running" in name):
                draw = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
                centred = name.endswith(("bias", "running_mean"))
                tensor.copy_((draw - 0.5 if centred else 0.5 + draw).to(tensor.dtype))


def _last_map(graph: Graph) -> str | None:
    """The module that gave out the last feature map, or one on its grid before; None where that map is an output."""
    if graph.last is None or graph.last in graph.outputs:
        return None
    home = graph.tensors[graph.last].grid
    there = [(index, path) for path, index in graph.modules if path and graph.tensors[index].grid == home]
    return max(((index, path) for index, path in there if index <= graph.last), default=(0, None))[1]


def _run(model: nn.Module, arguments: Mapping[str, Any]) -> Any:
    args, named = called(model.forward, arguments)
    return model(*args, **named)


def _answers(model: nn.Module, arguments: Mapping[str, Any], last: str | None) -> _Answers:
    """The tensors of the feature map, by `forward_features` or of the module `last`, and those of the output."""
    kept: list[Any] = []
    hook = None
    if last is not None:
        hook = model.get_submodule(last).register_forward_hook(lambda _module, _args, out: kept.append(out))
    try:
        with torch.no_grad():
            out = _run(model, arguments)
            found: Any = getattr(model, "forward_features", None)
            if callable(found) and "" in arguments:
                kept.append(found(arguments[""]))
    finally:
        if hook is not None:
            hook.remove()
    return _tensors(kept[-1:]), _tensors(out)
