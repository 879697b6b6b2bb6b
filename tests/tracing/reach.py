"""Which input positions an output position depends on, by asking torch: the oracle for receptive fields."""

import torch


def by_gradient(model, shape, axis, position):
    """(first, last) input position along `axis` on which the gradient of output `position` lands, None where nowhere.

    The other axes are summed over. Weights are made positive first (`positive`), so that nothing cancels.
    """
    x = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    out = model(x)
    out.select(2 + axis, position).sum().backward()
    return span(x.grad, axis)


def by_change(model, shape, axis):
    """For every output position along `axis` the input positions that change it, also through maximum pools.

    One forward for a batch in which entry i has position i raised, against an unchanged one.
    """
    size = shape[1 + axis]
    x = torch.ones(size + 1, *shape, dtype=torch.float64)
    for i in range(size):
        x.select(0, i).select(1 + axis, i).add_(1.0)
    with torch.no_grad():
        out = model(x)
    changed = (out[:-1] != out[-1:]).transpose(1, 2 + axis).flatten(2).any(2)  # input position x output position
    found = []
    for position in range(out.shape[2 + axis]):
        hits = changed[:, position].nonzero().flatten().tolist()
        found.append((hits[0], hits[-1]) if hits else None)
    return found


def span(gradient, axis):
    """(first, last) position along `axis` where a gradient of shape (1, C, *S) is not zero."""
    hits = gradient.transpose(0, 2 + axis).flatten(1).abs().sum(1).nonzero().flatten().tolist()
    return (hits[0], hits[-1]) if hits else None


def positive(model):
    """The model in float64 with every parameter 1/n: sums of positive things, so that nothing cancels."""
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0 / max(parameter[0].numel(), 1) if parameter.dim() > 1 else 0.0)
    return model
