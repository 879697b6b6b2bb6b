"""torch's recurrent layers as one op, whatever the length of the sequence."""

from __future__ import annotations

from torch import nn

from stridewise.ops.recurrent import Recurrent

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
