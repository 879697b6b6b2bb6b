"""How far long work is, on standard error: one bar on a terminal; of a study, a line for each training elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stridewise.study.run import Standing

_ENOUGH = 0.02  # of the work, before the time left is worth telling
_AFTER = 1.0  # seconds that work may take without a bar

Bar = Callable[..., None]
"""bar(what, share, doing="", left=None): of one kind of work what is done, in words, and the seconds it still takes; it
counts them itself where it is not told."""


@contextmanager
def bars() -> Iterator[Bar | None]:
    """A bar for each kind of work, once it takes over a second; None where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("[dim]{task.fields[doing]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        drawn.stop()
        begin = time.monotonic()
        tasks: dict[str, tuple[Any, float]] = {}

        def bar(what: str, share: float, doing: str = "", left: float | None = None) -> None:
            now = time.monotonic()
            task, since = tasks.setdefault(what, (None, now))
            if task is None:
                task = drawn.add_task(what, total=1.0, left="", doing="")
                tasks[what] = (task, since)
            if not drawn.live.is_started and now - begin > _AFTER:
                drawn.start()
            if left is None and share > 0:
                left = (now - since) * (1 - share) / share
            drawn.update(task, completed=share, left=_left(share, left), doing=doing)

        yield bar


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A function to tell how many of a known number are done: pictures, steps."""
    with bars() as bar:
        yield bar and (lambda done, total: bar(what, done / max(total, 1), f"{done:,} of {total:,}"))


@contextmanager
def standing() -> Iterator[Callable[["Standing"], None]]:
    """A function to tell how far a study is."""
    with bars() as bar:
        if bar is None:
            yield _lines()
            return

        def tell(now: "Standing") -> None:
            doing = f"{now.done} of {now.total}" + (f", training {now.doing}" if now.doing else "")
            bar("trainings", now.share, doing, now.seconds_left)

        yield tell


def _lines() -> "Callable[[Standing], None]":
    said = -1

    def tell(now: "Standing") -> None:
        nonlocal said
        if now.done != said:
            said = now.done
            click.echo(f"{now.done} of {now.total} trainings {_left(now.share, now.seconds_left)}".rstrip(), err=True)

    return tell


def _left(share: float, seconds: float | None) -> str:
    if seconds is None or not _ENOUGH <= share < 1:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"about {minutes}:{rest:02d} left"
