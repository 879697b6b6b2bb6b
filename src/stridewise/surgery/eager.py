"""Overrides that torch.compile must leave alone: it inlines `F.pad` past any TorchFunctionMode, without a word.

Source: torch 2.13, TorchDynamo's handler of `has_torch_function` looks at the tensors' classes, not at modes. A graph
break costs little; a padding that is not replaced would change values. In a room of its own, since importing
TorchDynamo takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stridewise.surgery.patched import Override


class Eager(Override):
    """An override that runs as it is inside a compiled model."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _as_it_is(self, args, kwargs)


def _run(override: Override, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return override.over(override.plain, args, kwargs)


_as_it_is = torch.compiler.disable(_run, reason="F.pad is not met by a TorchFunctionMode")
