"""What is known of a dispatcher function, looked up once: its op, its answer, what it shares and writes.

Also what the commonest layers dispatch to, said from their attributes. A layer's own forward goes through a dozen
frames of Python and C++ until one op of the dispatcher is met, and longer than everything the tracer does with it. Only
torch's own classes are known here, and only where nothing was hung on them; the tests hold each against its forward.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.ops import find_torch
from stridewise.ops.recurrent import Recurrent
from stridewise.ops.registry import Op, all_ops, generation
from stridewise.tracing.shape_functions import answer_for

_ASKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class Target:
    """What is known of a dispatcher function, looked up once."""

    __slots__ = (
        "alias",
        "answer",
        "asks",
        "axes",
        "called",
        "counts",
        "in_place",
        "makes",
        "name",
        "op",
        "outputs",
        "picks",
        "seeded",
        "varies",
        "writes",
    )

    def __init__(self, func: Any) -> None:
        self.name = str(func)
        self.called = func._schema.name.removeprefix("aten::").replace("::", ".")
        self.op: Op | None = find_torch(self.name)
        returns, arguments = func._schema.returns, func._schema.arguments
        info = returns[0].alias_info if returns else None
        self.alias = -1
        if info is not None:
            shared = [i for i, a in enumerate(arguments) if a.alias_info and a.alias_info.before_set & info.before_set]
            self.alias = shared[0] if shared else 0
        in_place = self.in_place = bool(info is not None and info.is_write)
        if self.alias < 0 and "_unsafe_view" in self.name:
            self.alias = 0
        # Where a device can be asked for, the meta device is what the forward gets.
        self.makes = any(a.name == "device" for a in arguments)
        # One number throughout; ranges, random numbers and whatever has no rule vary.
        name = self.name.split(".")[1].rstrip("_")
        self.varies = name not in _FILLS and (self.op is None or self.op.name in _VARYING or name.startswith("rand"))
        # Whether its output, or the shape of that, follows from the values of what comes in.
        self.asks = not _ASKING.isdisjoint(func.tags)
        # Whether it picks entries by numbers, which no kernel without values holds against the sizes.
        self.picks = self.called in _PICKING
        self.seeded = torch.Tag.nondeterministic_seeded in func.tags
        self.axes = self._axes(func)
        # Statistics are for training; in eval they are empty.
        self.outputs = None if self.op is None else self.op.outputs
        self.counts = self.op is not None and self.op.work is not None
        # Pointwise ops leave positions where they are, also in a part of a tensor.
        self.writes = in_place and not (self.op is not None and self.op.pointwise)
        self.answer = answer_for(self.op, self.name, in_place, len(returns))

    def _axes(self, func: Any) -> int:
        """Of a window over a map: how many axes it has, -1 where only its arguments say so; 0 for any other op."""
        if self.op is None or not ((self.op.site and "window" in self.op.dilated) or self.op.name == "adaptive_pool"):
            return 0
        named = re.search(r"(\d)d", self.name)
        return int(named[1]) if named else -1


_FILLS = frozenset("zeros ones full empty empty_strided scalar_tensor fill zero zeros_like ones_like full_like".split())
_VARYING = frozenset(("softmax", "triangle", "pad", "write", "concat", "stack"))  # of constants they make others
_PICKING = frozenset(("index", "_unsafe_index", "index_select", "gather", "embedding"))
_TARGETS: dict[Any, Target] = {}
_known_at = [generation()]


def target_of(func: Any) -> Target:
    """What is known of `func`."""
    target = _TARGETS.get(func)
    if target is None:
        target = _TARGETS[func] = Target(func)
    return target


def forget_targets() -> None:
    """Look targets up anew when ops were registered since."""
    if _known_at[0] != generation():
        _TARGETS.clear()
        _known_at[0] = generation()


Held: TypeAlias = tuple[torch.Tensor | None, ...]
Direct: TypeAlias = Callable[[Any, nn.Module, int], tuple[str | None, Held, tuple[Any, ...]] | None]
"""(layer in eval, one that holds its tensors, dimensions of its input): the dispatcher's op, the layer's tensors and
the numbers it takes behind the input. The op is None where the input is given out as it is, the whole answer where only
the forward knows. Ops say it (`Op.layers`)."""


def known_layers() -> Mapping[type[nn.Module], Direct]:
    """The classes of torch whose op is known, as registered ops name them."""
    return _known(generation())


@lru_cache(maxsize=4)
def _known(generation: int) -> Mapping[type[nn.Module], Direct]:
    layers = [(name, say) for op in all_ops() for name, say in op.layers.items() if say is not None]
    return {getattr(nn, name): say for name, say in layers}


@lru_cache(maxsize=256)
def dispatched(target: str) -> Any:
    """The dispatcher's function for "aten.relu.default"."""
    return reduce(getattr, target.split("."), torch.ops)


def is_own_forward(layer: nn.Module) -> bool:
    """Whether a layer runs as its class says: no forward of its own, no hook."""
    state = layer.__dict__
    return not ("forward" in state or state["_forward_hooks"] or state["_forward_pre_hooks"])


def direct(layer: nn.Module) -> Direct | None:
    """How to ask this layer for its op; None for a layer of another class, or one whose forward is changed."""
    found = known_layers().get(type(layer))
    state = layer.__dict__
    if (
        found is None
        or state["_modules"]
        or not is_own_forward(layer)
        or not _HELD.issuperset(map(type, state.values()))
    ):
        return None
    held = (*state["_parameters"].values(), *state["_buffers"].values())
    return found if _PLAIN.issuperset(map(type, held)) else None


_PLAIN = frozenset((nn.Parameter, torch.Tensor, type(None)))
_HELD = frozenset((int, float, bool, str, tuple, dict, OrderedDict, set, type(None)))


_GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


def recurrent(layer: nn.Module) -> Recurrent | None:
    """What is known of an LSTM, GRU or RNN of torch's own class; None for any other module."""
    gates = _GATES.get(type(layer))
    if gates is None or not isinstance(layer, nn.RNNBase):
        return None
    return Recurrent(
        kind=type(layer).__name__,
        gates=gates,
        layers=layer.num_layers,
        directions=2 if layer.bidirectional else 1,
        channels=layer.input_size,
        width=layer.hidden_size,
        out=layer.proj_size or layer.hidden_size,
        time=1 if layer.batch_first else 0,
        params=sum(p.numel() for p in layer.parameters()),
    )
