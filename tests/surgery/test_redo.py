"""`Done.redo`: the same changes once more, and on a deep copy's own modules."""

import copy

import pytest
import torch
from tests.surgery.networks import Branches, everything

import stridewise as sw

PLANS = {
    "stride": {"request": {"main": 1}},
    "kept": {"request": {"main": 1}, "keep_weights": True},
    "blur": {"request": {"stem": "2:blur:3"}},
    "slot": {"request": {"+stem": 2}},
    "space-to-depth": {"request": {"stem": "2:space-to-depth"}},
}


@pytest.mark.parametrize("name", list(PLANS))
def test_redo_makes_the_same_changes_and_undo_takes_them_back(name: str) -> None:
    model = Branches().eval()
    plan = sw.plan(sw.trace(model, (3, 45, 39)), **PLANS[name])
    x = torch.randn(1, 3, 45, 39, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        old, before = model(x), everything(model)
        done = sw.apply(model, plan)
        new = model(x)
        assert name == "space-to-depth" or new.shape != old.shape or not torch.equal(new, old)
        for _ in range(2):
            done.undo()
            done.undo()  # a second one does nothing
            assert everything(model) == before
            done.redo()
            done.redo()
            assert torch.equal(model(x), new)


def test_hooks_that_came_since_stay() -> None:
    model = Branches().eval()
    done = sw.apply(model, sw.plan(sw.trace(model, (3, 45, 39)), {"+stem": 2}))
    seen: list[int] = []
    model.stem.register_forward_hook(lambda *_: seen.append(1))
    done.undo()
    model(torch.zeros(1, 3, 45, 39))
    assert seen == [1]


@pytest.mark.parametrize("name", list(PLANS))
def test_a_deep_copy_of_model_and_changes_switches_the_copy(name: str) -> None:
    model = Branches().eval()
    done = sw.apply(model, sw.plan(sw.trace(model, (3, 45, 39)), **PLANS[name]))
    x = torch.randn(1, 3, 45, 39, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        new = model(x)
        twin, changes = copy.deepcopy((model, done._undo))
        changes.everything()
        assert torch.equal(model(x), new)
        done.undo()
        assert torch.equal(twin(x), model(x))
        changes.again()
        assert torch.equal(twin(x), new)
