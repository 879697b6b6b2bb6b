"""Quick records are the frozen dataclasses they were: only their constructor is another."""

import copy
import gc
import inspect
import pickle
import weakref
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest
from torch import nn

import stridewise as sw
from stridewise.analyses.limits import axes_as_traced
from stridewise.analyses.strides import components
from stridewise.records import quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    name: str
    sizes: tuple[int, ...] = (1, 2)
    facts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SlowPair:
    first: int = 0
    second: int = 1


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    name: str
    sizes: tuple[int, ...] = (1, 2)
    facts: dict[str, int] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class QuickPair:
    first: int = 0
    second: int = 1


def test_the_constructor_takes_what_it_took():
    for slow, new in ((Slow, Quick), (SlowPair, QuickPair)):
        assert str(inspect.signature(new)) == str(inspect.signature(slow))
    assert QuickPair(5) == QuickPair(first=5, second=1) != QuickPair(5, 2)
    for wrong in ({}, {"name": "a", "other": 1}):
        with pytest.raises(TypeError, match="Quick"):
            Quick(**wrong)
    with pytest.raises(TypeError):
        Quick("a")


def test_defaults_made_anew_are_not_shared():
    assert Quick(name="a").facts is not Quick(name="a").facts


@pytest.mark.parametrize("make", [lambda: Quick(name="a", facts={"b": 1}), lambda: QuickPair(3)])
def test_a_record_is_of_its_class_locked_and_equal_to_its_copies(make):
    record = make()
    assert type(record) in (Quick, QuickPair)
    assert not hasattr(record, "__dict__")
    name = type(record).__slots__[0]
    with pytest.raises(FrozenInstanceError):
        setattr(record, name, 1)
    with pytest.raises(FrozenInstanceError):
        delattr(record, name)
    for twin in (make(), copy.deepcopy(record), pickle.loads(pickle.dumps(record)), replace(record)):
        assert twin == record
        assert type(twin) is type(record)
    assert hash(QuickPair(3)) == hash(SlowPair(3))


def test_what_is_remembered_of_a_graph_goes_with_it():
    graph = sw.trace(nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3)), (3, 16, 16))
    assert components(graph, 0) is components(graph, 0)
    assert components(graph, 0) is not components(replace(graph, model="another"), 0)
    axes_as_traced(graph)
    assert graph.answers
    assert not pickle.loads(pickle.dumps(replace(graph, source=None))).answers
    seen = weakref.ref(graph)
    del graph
    gc.collect()
    assert seen() is None
