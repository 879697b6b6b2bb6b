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
from stridewise.errors import missing_extra as _missing_extra

if TYPE_CHECKING:
    from stridewise.analyses.findings import check as check
    from stridewise.analyses.inputs import sizes as sizes
    from stridewise.analyses.lengths import out_size as out_size
    from stridewise.analyses.places import cells as cells
    from stridewise.analyses.places import map_points as map_points
    from stridewise.api import apply as apply
    from stridewise.api import code as code
    from stridewise.api import export as export
    from stridewise.api import plan as plan
    from stridewise.api import preview as preview
    from stridewise.api import verify as verify
    from stridewise.convolution import slide as slide
    from stridewise.datafit import fit as fit
    from stridewise.fronts.front import front as front
    from stridewise.ir import Graph as Graph
    from stridewise.measuring.run import measure as measure
    from stridewise.models.load import load as load
    from stridewise.onnxfile.read import read_onnx as read_onnx
    from stridewise.ops.call import Call as Call
    from stridewise.ops.draft import Reading as Reading
    from stridewise.ops.registry import Op as Op
    from stridewise.ops.registry import register as register
    from stridewise.plans import Plan as Plan
    from stridewise.showing.beside import beside as beside
    from stridewise.showing.show import Report as Report
    from stridewise.showing.show import show as show
    from stridewise.shown import figure as figure
    from stridewise.study.executors import Here as Here
    from stridewise.study.executors import Ray as Ray
    from stridewise.study.executors import Workers as Workers
    from stridewise.study.search import search as search
    from stridewise.study.value import Budget as Budget
    from stridewise.study.value import Limits as Limits
    from stridewise.study.value import Moves as Moves
    from stridewise.study.value import Study as Study
    from stridewise.surgery.apply import Done as Done
    from stridewise.surgery.features import features as features
    from stridewise.switching.elastic import elastic as elastic
    from stridewise.switching.learned import learned as learned
    from stridewise.switching.relaxed import relaxed as relaxed
    from stridewise.tasks.train import train as train
    from stridewise.tasks.trained import load_trained as load_trained
    from stridewise.tracing.trace import trace as trace

__version__ = "0.2.0"

_ROOMS = {
    "check": "stridewise.analyses.findings",
    "sizes": "stridewise.analyses.inputs",
    "out_size": "stridewise.analyses.lengths",
    "cells": "stridewise.analyses.places",
    "map_points": "stridewise.analyses.places",
    "show": "stridewise.showing.show",
    "beside": "stridewise.showing.beside",
    "apply": "stridewise.api",
    "plan": "stridewise.api",
    "code": "stridewise.api",
    "export": "stridewise.api",
    "preview": "stridewise.api",
    "verify": "stridewise.api",
    "Graph": "stridewise.ir",
    "Report": "stridewise.showing.show",
    "Call": "stridewise.ops.call",
    "Done": "stridewise.surgery.apply",
    "Plan": "stridewise.plans",
    "slide": "stridewise.convolution",
    "figure": "stridewise.shown",
    "fit": "stridewise.datafit",
    "measure": "stridewise.measuring.run",
    "elastic": "stridewise.switching.elastic",
    "learned": "stridewise.switching.learned",
    "relaxed": "stridewise.switching.relaxed",
    "features": "stridewise.surgery.features",
    "load": "stridewise.models.load",
    "trace": "stridewise.tracing.trace",
    "read_onnx": "stridewise.onnxfile.read",
    "Op": "stridewise.ops.registry",
    "Reading": "stridewise.ops.draft",
    "register": "stridewise.ops.registry",
    "front": "stridewise.fronts.front",
    "search": "stridewise.study.search",
    "Study": "stridewise.study.value",
    "Limits": "stridewise.study.value",
    "Moves": "stridewise.study.value",
    "Budget": "stridewise.study.value",
    "Here": "stridewise.study.executors",
    "Workers": "stridewise.study.executors",
    "Ray": "stridewise.study.executors",
    "train": "stridewise.tasks.train",
    "load_trained": "stridewise.tasks.trained",
}


__all__ = sorted([*(n for n, v in globals().items() if isinstance(v, type) and issubclass(v, Exception)), *_ROOMS])


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module 'stridewise' has no attribute {name!r}")
    try:
        value: object = getattr(importlib.import_module(_ROOMS[name]), name)
    except ModuleNotFoundError as error:
        missing = _missing_extra(error, name)
        if missing is None:
            raise
        raise missing from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
