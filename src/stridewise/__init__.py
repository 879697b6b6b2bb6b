"""Stridewise: see, change, measure and choose the stride of every layer of any CNN.

Importing this package loads neither torch nor onnx: each public name is fetched from its room on first use.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING

from stridewise.errors import DataError as DataError
from stridewise.errors import GeometryError as GeometryError
from stridewise.errors import LoadError as LoadError
from stridewise.errors import MissingExtraError as MissingExtraError
from stridewise.errors import PlanError as PlanError
from stridewise.errors import StridewiseError as StridewiseError
from stridewise.errors import StudyError as StudyError
from stridewise.errors import TraceError as TraceError
from stridewise.errors import UsageError as UsageError

if TYPE_CHECKING:
    from stridewise.analyses.findings import check as check
    from stridewise.api import apply as apply
    from stridewise.api import plan as plan
    from stridewise.convolution import slide as slide
    from stridewise.fit import fit as fit
    from stridewise.frontends.features import features as features
    from stridewise.frontends.load import load as load
    from stridewise.frontends.onnx import read_onnx as read_onnx
    from stridewise.frontends.torch import trace as trace
    from stridewise.measure.run import measure as measure
    from stridewise.ops.registry import Op as Op
    from stridewise.ops.registry import register as register
    from stridewise.plans import Plan as Plan
    from stridewise.report.show import show as show
    from stridewise.search.front import front as front
    from stridewise.study.search import search as search
    from stridewise.tasks.train import train as train
    from stridewise.tasks.trained import load_trained as load_trained

__version__ = "0.1.0"

_ROOMS = {
    "check": "stridewise.analyses.findings",
    "show": "stridewise.report.show",
    "apply": "stridewise.api",
    "plan": "stridewise.api",
    "Plan": "stridewise.plans",
    "slide": "stridewise.convolution",
    "fit": "stridewise.fit",
    "measure": "stridewise.measure.run",
    "features": "stridewise.frontends.features",
    "load": "stridewise.frontends.load",
    "trace": "stridewise.frontends.torch",
    "read_onnx": "stridewise.frontends.onnx",
    "Op": "stridewise.ops.registry",
    "register": "stridewise.ops.registry",
    "front": "stridewise.search.front",
    "search": "stridewise.study.search",
    "train": "stridewise.tasks.train",
    "load_trained": "stridewise.tasks.trained",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'stridewise' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})


class _Package(types.ModuleType):
    """Keeps `stridewise.fit` the function also after the room of that name was imported: the import system would
    otherwise put the room in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _ROOMS and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
