"""The one registry of ops. An op is added by registering one `Op`; reports, docs and tests are made from this list.

Every other room asks the op: what its rule is, what it mixes, what becomes of it when its operand has m times the
positions, whether a step may wait behind it, which torch functions and layers become it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from stridewise.errors import UsageError
from stridewise.ir import Node
from stridewise.ops.call import Call
from stridewise.ops.draft import Reading, Value
from stridewise.ops.space import Space

Mixes: TypeAlias = Literal["nothing", "channels", "window", "axis", "everything"]
"""What an output element may depend on at most: its own element; what lies at its position; neighbours; all positions
along an axis that the call names; every position."""

Dilated: TypeAlias = Literal["same", "window", "pad", "slice", "resize", "coarse", "phases", "mixes", "never"]
"""What becomes of an op whose operand has m times the positions (`rewrites.actions`): it stays as it is; its window
spreads; its pads widen; its slice is stretched; it runs on coarse grids, one for each phase; where a plan takes means
on the grid, phase 0 alone goes in, or each phase by itself; it mixes more positions than it did; there is no form."""

Between: TypeAlias = Literal["never", "affine", "bends", "order"]
"""Whether a step may wait behind the op (`rewrites.places`): no; behind a scale and shift, which a call of what
else bends may be too (its attrs are `affine`); behind what bends values position by position, norms among them; behind
another order of the dimensions (its attrs hold the `order`)."""


def own_name(target: str, attrs: Mapping[str, Any], has_weights: bool) -> str:
    """The target's own: "aten.bmm.default" is "bmm"."""
    return target.split(".")[1] if "." in target else target


def by_axes(stem: str) -> Callable[[str, Mapping[str, Any], bool], str]:
    """The stem with the number of the kernel's axes, as torch writes it: "max_pool2d"."""
    return lambda target, attrs, has_weights: f"{stem}{len(attrs['kernel'])}d"


def always(name: str) -> Callable[[str, Mapping[str, Any], bool], str]:
    """One name, whatever the call."""
    return lambda target, attrs, has_weights: name


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation and its rule. What has no default has to be said; `register` refuses an op that leaves it out.

    torch, onnx: the targets it answers for ("aten.convolution", or with the overload "aten.mean.dim"; "Conv").
    read: the rule for torch's arguments; read_onnx: for ONNX attributes (None: `read` serves both).
    mixes, dilated, between: see there. dilated: every form that its calls may need.
    functions: torch functions that become it and can be met from outside, by name ("conv2d"; "mine.op" for
    torch.ops.mine.op), each with its parameters behind the operand, in order, with their defaults ({}: not needed).
    space: how a test draws a call of one of its targets (`ops.space`), for `stridewise.testing.check_op`.
    form: what such a function does at m times the positions, form(action, function, args, kwargs), where the general
    form of its kind will not do.
    layers: torch.nn classes whose forward is one call of it, by name; how a layer says that call (`tracing.targets`)
    or None where only its forward knows.
    shapes: targets whose output's shape is known by a rule of `tracing.shape_functions`, by the rule's name.
    pointwise: the output has the operand's shape and every element depends on its own position only; the tracer
    answers such ops without running them.
    convolves: a linear window whose weights its module holds. passes_lost: it moves or weighs what is there, so that
    behind it positions whose order is not followed stay that and no more.
    work: multiply-adds where the geometry is unknown, from operands, output shapes and arguments; None: none that
    count.
    outputs: how many of its outputs hold anything in eval (None: all). named: the name of a call without a module.

    >>> from stridewise.ops.space import plain_space
    >>> twice = sw.Op(
    ...     name="twice",
    ...     about="doubles every value",
    ...     torch=("mine.twice",),
    ...     read=lambda call: call.same(call.value(0)),
    ...     mixes="nothing",
    ...     dilated=("same",),
    ...     between="affine",
    ...     functions={},
    ...     space=plain_space({}),
    ...     pointwise=True,
    ... )
    >>> twice.site, twice.mixes
    (False, 'nothing')
    """

    name: str
    about: str
    read: Callable[[Call], Reading]
    mixes: Mixes | None = None
    dilated: tuple[Dilated, ...] = ()
    between: Between | None = None
    torch: tuple[str, ...] = ()
    onnx: tuple[str, ...] = ()
    read_onnx: Callable[[Call], Reading] | None = None
    functions: Mapping[str, Mapping[str, Any]] | None = None
    space: Space | None = None
    form: Callable[..., Any] | None = None
    layers: Mapping[str, Callable[..., Any] | None] = field(default_factory=dict)
    shapes: Mapping[str, str] = field(default_factory=dict)
    pointwise: bool = False
    site: bool = False
    convolves: bool = False
    passes_lost: bool = False
    work: Callable[[Sequence[Value], Sequence[tuple[int, ...]], Sequence[Any]], int] | None = None
    outputs: int | None = None
    named: Callable[[str, Mapping[str, Any], bool], str] = own_name


UNKNOWN = Op(
    name="unknown",
    about="an op without a rule",
    read=lambda call: Reading(outs=[(None, None)] * len(call.outs)),
    mixes="everything",
    dilated=("never",),
    between="never",
    functions={},
)
_BY_NAME: dict[str, Op] = {}
_BY_TORCH: dict[str, Op] = {}
_BY_ONNX: dict[str, Op] = {}
_changes: list[str] = []


def generation() -> int:
    """How often the registry has changed: whoever remembers an answer of `find_torch` asks again after a change."""
    return len(_changes)


def register(op: Op) -> Op:
    """Add a rule for an op, also one of your own.

    Raises: UsageError in one line where the op leaves out what it has to say, or a target has a rule already. The
    registry is then as it was.

    >>> from stridewise.ops.space import plain_space
    >>> from stridewise.ops.registry import unregister
    >>> read = lambda call: call.same(call.value(0))  # it moves nothing
    >>> more = {"dilated": ("same",), "between": "affine", "functions": {}, "space": plain_space({}), "pointwise": True}
    >>> twice = sw.Op(name="twice", about="doubles", torch=("mine.twice",), read=read, mixes="nothing", **more)
    >>> sw.register(twice).name
    'twice'
    >>> unregister("twice")
    """
    _check(op)
    for table, targets in ((_BY_TORCH, op.torch), (_BY_ONNX, op.onnx), (_BY_NAME, (op.name,))):
        for target in targets:
            if target in table:
                raise UsageError(f"op '{op.name}': '{target}' is described already, by '{table[target].name}'")
    for table, targets in ((_BY_TORCH, op.torch), (_BY_ONNX, op.onnx), (_BY_NAME, (op.name,))):
        table.update(dict.fromkeys(targets, op))
    _changes.append(op.name)
    return op


def _check(op: Op) -> None:
    """Refuse an op that leaves out what other rooms ask of it, or says what no room knows."""
    if not isinstance(op, Op):
        raise UsageError(f"sw.register: a sw.Op is wanted, not {type(op).__name__}")
    if not op.name or op.name == UNKNOWN.name or not op.about:
        raise UsageError(f"op '{op.name}': give it a name of its own and say in `about` what it does")
    if not (op.torch or op.onnx):
        raise UsageError(f"op '{op.name}': answers for no target; give `torch` or `onnx`")
    for name, rule in (("read", op.read), ("read_onnx", op.read_onnx or op.read)):
        if not callable(rule):
            raise UsageError(f"op '{op.name}': `{name}` is no function of a call")
    for name, said, choices in (("mixes", op.mixes, get_args(Mixes)), ("between", op.between, get_args(Between))):
        if said not in choices:
            raise UsageError(f"op '{op.name}': `{name}` is {said!r}; say one of {', '.join(choices)}")
    known = get_args(Dilated)
    if not isinstance(op.dilated, tuple) or not op.dilated or not set(op.dilated) <= set(known):
        raise UsageError(f"op '{op.name}': `dilated` is {op.dilated!r}; say a tuple of {', '.join(known)}")
    if op.pointwise and op.mixes != "nothing":
        raise UsageError(f"op '{op.name}': is `pointwise` and mixes '{op.mixes}'; a pointwise op mixes nothing")
    if not callable(op.space):
        raise UsageError(f"op '{op.name}': `space` is {op.space!r}; say how a test draws a call: space(draw, target)")
    if op.torch and not isinstance(op.functions, Mapping):
        raise UsageError(f"op '{op.name}': `functions` is {op.functions!r}; name the torch functions that become it")


def unregister(name: str) -> None:
    """Take an op's rule back (tests; replacing one's own rule)."""
    op = _BY_NAME.pop(name)
    _changes.append(name)
    for target in op.torch:
        del _BY_TORCH[target]
    for target in op.onnx:
        del _BY_ONNX[target]


def find_torch(target: str) -> Op | None:
    """The op for a dispatcher target such as "aten.mean.dim": the overload first, then the packet."""
    return _BY_TORCH.get(target) or _BY_TORCH.get(target.rsplit(".", 1)[0])


def find_onnx(target: str) -> Op | None:
    """The op for an ONNX operator type."""
    return _BY_ONNX.get(target)


def op_named(name: str) -> Op:
    """The op that a node names; `UNKNOWN` where no rule has that name."""
    return _BY_NAME.get(name, UNKNOWN)


def only_pads(node: Node) -> bool:
    """Whether a node only pads or crops."""
    return "pad" in op_named(node.op).dilated


def all_ops() -> Iterator[Op]:
    """Every registered op, by name."""
    return (op for _, op in sorted(_BY_NAME.items()))
