"""What the commonest layers dispatch to, said from their attributes.

A layer's own forward goes through a dozen frames of Python and C++ until one op of the dispatcher is met, and longer
than everything the tracer does with it. Only torch's own classes are known here, and only where nothing was hung on
them; the tests hold each against its forward.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.ops.recurrent import Recurrent
from stridewise.ops.registry import all_ops, generation

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
