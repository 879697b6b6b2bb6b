"""Which strides a data set permits, without training: objects, labels and detail against the grid of a stride.

`stridewise.fit` is this room and also, as the library mirrors the command line, a call: `stridewise.fit("data/")`.
"""

import sys
from types import ModuleType
from typing import Any

from stridewise.findings import Finding as Finding
from stridewise.fit.result import FitResult as FitResult
from stridewise.fit.result import Limits as Limits
from stridewise.fit.rules import findings as findings
from stridewise.fit.run import fit as fit
from stridewise.fit.strides import stride_set as stride_set


class _CallableRoom(ModuleType):
    # Importing this package sets `stridewise.fit` to the module; calling that must work all the same.
    def __call__(self, *arguments: Any, **options: Any) -> FitResult:
        return fit(*arguments, **options)


sys.modules[__name__].__class__ = _CallableRoom
