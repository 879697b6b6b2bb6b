"""An LSTM, GRU or RNN is one row of the report, whatever its length; its multiply-adds are those that run."""

import pytest
import torch
from torch import nn
from torch.nn.modules.rnn import RNNBase
from torch.utils.flop_counter import FlopCounterMode

import stridewise as sw


class Between(nn.Module):
    def __init__(self, layer: RNNBase) -> None:
        super().__init__()
        out = (2 if layer.bidirectional else 1) * (layer.proj_size or layer.hidden_size)
        self.before, self.layer, self.after = nn.Conv1d(3, 16, 3, 2, 1), layer, nn.Conv1d(out, 4, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.before(x)
        turned = (0, 2, 1) if self.layer.batch_first else (2, 0, 1)
        y, state = self.layer(x.permute(*turned))
        back = (0, 2, 1) if self.layer.batch_first else (1, 2, 0)
        return self.after(y.permute(*back)), state[0] if isinstance(state, tuple) else state


LAYERS = {
    "LSTM": lambda: nn.LSTM(16, 12, 2, batch_first=True),
    "LSTM, both ways": lambda: nn.LSTM(16, 12, bidirectional=True),
    "LSTM, projected": lambda: nn.LSTM(16, 12, 2, proj_size=5, bidirectional=True),
    "GRU": lambda: nn.GRU(16, 12, 3, batch_first=True, bidirectional=True),
    "RNN": lambda: nn.RNN(16, 12),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", LAYERS)
def test_a_recurrent_layer_is_one_row_with_its_exact_work(name):
    net = Between(LAYERS[name]()).eval()
    graph = sw.trace(net, (3, 64))
    report = sw.show(graph)
    assert [row.key for row in report.layers] == ["before", "layer", "after"]
    assert graph.unknown == ()
    row = report.layers[1]
    assert row.params == sum(p.numel() for p in net.layer.parameters())
    assert row.everything
    made = net(torch.rand(1, 3, 64))
    assert [graph.tensors[t].shape for t in graph.outputs] == [m.shape for m in made]
    assert report.to_json()["outputs"][0]["cumulative_stride"] == [4]
    # On the meta device torch writes the layer out as products, step by step, which its counter sees.
    with torch.device("meta"), FlopCounterMode(display=False) as counted, torch.no_grad():
        again = Between(LAYERS[name]()).eval()
        again(torch.empty(1, 3, 64))
    assert report.totals.macs == counted.get_total_flops() // 2
    longer = sw.show(sw.trace(net, (3, 128))).layers[1]
    assert longer.macs == 2 * row.macs
