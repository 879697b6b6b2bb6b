"""A person's own training code by its name: `file.py:function`, score(plan, budget, seed) -> float."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from stridewise.models.load import function_in


class NamedScore:
    """The function that a name stands for; sent to a worker it takes only the name along and is read there."""

    def __init__(self, name: str) -> None:
        self.name = name if name.startswith("py:") else f"py:{name}"
        self._function: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "_function": None}

    @property
    def function(self) -> Callable[..., Any]:
        """Read on first use. Raises: LoadError, UsageError."""
        if self._function is None:
            self._function = function_in(self.name, "--score")
        return self._function

    @property
    def __signature__(self) -> inspect.Signature:
        """That of the function: a study gives it `progress` and `checkpoint` where it takes them."""
        return inspect.signature(self.function)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.function(*given, **named)
