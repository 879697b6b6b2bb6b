"""Recurrent layers as one op: an LSTM, GRU or RNN over the steps of a sequence, its work exact."""

from __future__ import annotations

from dataclasses import dataclass

from stridewise.ops.call import Call
from stridewise.ops.draft import Reading
from stridewise.ops.layout import plain
from stridewise.ops.registry import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """A recurrent layer. gates: products with the state a step; width: of its state; out: of what it gives out (another
    one where it projects); time: the dimension of the steps, of one sequence without a batch the first."""

    kind: str
    gates: int
    layers: int
    directions: int
    channels: int
    width: int
    out: int
    time: int
    params: int

    @property
    def macs(self) -> int:
        """Multiply-adds of one step of one sequence.

        Source: torch.nn.LSTM, GRU and RNN: each gate multiplies what comes in and the state.
        """
        total = 0
        for layer in range(self.layers):
            taken = self.channels if layer == 0 else self.directions * self.out
            total += self.directions * self.gates * self.width * (taken + self.out)
            total += self.directions * self.width * self.out if self.out != self.width else 0
        return total


def _read(call: Call) -> Reading:
    x, layer = call.value(0), call.args[1]
    reading = call.mixed(x)  # a step lets in every step before it, of two directions those behind it too
    dims, grid = reading.outs[0]
    assert dims is not None
    steps = dims[:-1]
    reading.outs = [((*steps, (call.outs[0][-1],)), grid), *((plain(shape), grid) for shape in call.outs[1:])]
    reading.counted, reading.keeps = True, "inputs"
    reading.macs = call.volume(steps, call.outs[0][:-1]).scaled(layer.macs)
    reading.attrs = {"channels": (layer.channels, layer.directions * layer.out), "kind": layer.kind}
    return reading


# Not in the registry, as nothing dispatches to it: a plan takes it for an op that it has no form of.
RECURRENT = Op(name="recurrent", about="an LSTM, GRU or RNN over a sequence", read=_read)
