"""How far a study is, on standard error: a bar on a terminal, a line for each finished training elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from stridewise.study.run import Standing

_ENOUGH = 0.02  # of the work, before the time left is worth telling


@contextmanager
def standing() -> Iterator[Callable[[Standing], None]]:
    """A function to tell how far the study is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.fields[count]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("[dim]{task.fields[doing]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, count="trainings", left="", doing="")

        def tell(now: Standing) -> None:
            bar.update(
                task,
                completed=now.share,
                count=f"{now.done} of {now.total} trainings",
                left=_left(now),
                doing=f"training {now.doing}" if now.doing else "",
            )

        yield tell


def _lines() -> Callable[[Standing], None]:
    said = -1

    def tell(now: Standing) -> None:
        nonlocal said
        if now.done != said:
            said = now.done
            click.echo(f"{now.done} of {now.total} trainings {_left(now)}".rstrip(), err=True)

    return tell


def _left(now: Standing) -> str:
    if now.seconds_left is None or now.share < _ENOUGH or now.done == now.total:
        return ""
    minutes, seconds = divmod(round(now.seconds_left), 60)
    return f"about {minutes}:{seconds:02d} left"
