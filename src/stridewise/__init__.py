"""Stridewise: see, change, measure and choose the stride of every layer of any CNN.

Importing this package loads neither torch nor onnx: each public name is fetched from its room on first use.
"""

import importlib
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
    from stridewise.convolution import slide as slide
    from stridewise.fit import fit as fit
    from stridewise.frontends.load import load as load
    from stridewise.frontends.torch import trace as trace
    from stridewise.ops.registry import Op as Op
    from stridewise.ops.registry import register as register
    from stridewise.study.search import search as search
    from stridewise.tasks.train import train as train

__version__ = "0.1.0"

_ROOMS = {
    "slide": "stridewise.convolution",
    "fit": "stridewise.fit",
    "load": "stridewise.frontends.load",
    "trace": "stridewise.frontends.torch",
    "Op": "stridewise.ops.registry",
    "register": "stridewise.ops.registry",
    "search": "stridewise.study.search",
    "train": "stridewise.tasks.train",
}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'stridewise' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
