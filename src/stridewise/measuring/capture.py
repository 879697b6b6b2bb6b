"""What goes into and comes out of modules while a model runs; afterwards it is as it was, also after an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

from stridewise.tracing.steps import Run, standing_in, step_of

Seen: TypeAlias = Callable[[str, torch.Tensor, torch.Tensor], None]
"""Called with a module's path, what it took and what it gave out."""


class _Watched:
    """A module's forward that shows what it takes and gives."""

    def __init__(self, path: str, module: nn.Module, run: Run, seen: Seen) -> None:
        self.path, self.module, self.run, self.seen = path, module, run, seen
        self.step = step_of(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        taken = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)), None)
        kept = None if taken is None else taken.clone()  # the module, or a later one, may write over it
        out = self.run(*args, **kwargs)
        if isinstance(out, torch.Tensor):
            if kept is not None:
                self.seen(self.path, kept, out.clone())
            if self.step is not None:  # an inserted step runs as a hook, behind this forward
                self.seen(f"+{self.path}", out.clone(), self.step(self.module, args, out.clone()))
        return out


@contextmanager
def watched(model: nn.Module, paths: Sequence[str], seen: Seen) -> Iterator[None]:
    """While it lasts, `seen` is called each time one of the modules at `paths` runs ("+path": its inserted step)."""
    modules = {path: model.get_submodule(path) for path in dict.fromkeys(p.removeprefix("+") for p in paths)}
    wanted = set(paths)

    def only(path: str, taken: torch.Tensor, given: torch.Tensor) -> None:
        if path in wanted:
            seen(path, taken, given)

    with standing_in(modules, lambda path, module, run: _Watched(path, module, run, only)):
        yield


def run_watched(
    model: nn.Module, paths: Sequence[str], pictures: torch.Tensor, batch: int = 1
) -> Iterator[Mapping[str, tuple[torch.Tensor, torch.Tensor]]]:
    """Batch by batch what each module took and gave (of its first call), on the CPU."""
    with torch.inference_mode():
        for part in pictures.split(batch):
            found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

            def keep(
                path: str,
                taken: torch.Tensor,
                given: torch.Tensor,
                found: dict[str, tuple[torch.Tensor, torch.Tensor]] = found,
            ) -> None:
                found.setdefault(path, (taken.cpu(), given.cpu()))

            with watched(model, paths, keep):
                model(part)
            yield found
