"""Quick records are the frozen dataclasses they were: only their constructor is another."""

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

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
