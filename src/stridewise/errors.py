"""What can go wrong, each kind with a class of its own. A message is one line: where, what, what to do."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


def by(sizes: Iterable[object]) -> str:
    """Sizes as messages, plans and the command line write them.

    >>> by((3, 224, 224))
    '3x224x224'
    """
    return "x".join(map(str, sizes))


def once(values: Sequence[object]) -> str:
    """Steps as the command line writes them: one number where all axes have it.

    >>> once((2, 2)), once((1, 2))
    ('2', '1x2')
    """
    return str(values[0]) if len(set(values)) == 1 else by(values)


@contextmanager
def staying() -> Iterator[None]:
    """Somebody's own code runs within: where it would end this process, by `sys.exit` or `os._exit`, it fails instead.

    Raises: RuntimeError that says so. Other threads, and processes forked within, end as ever.
    """
    end, thread, process = os._exit, threading.get_ident(), os.getpid()
    within = True

    def refuse(code: int) -> None:
        if within and threading.get_ident() == thread and os.getpid() == process:
            raise RuntimeError(f"it called os._exit({code}), which would end the whole program")
        end(code)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    except SystemExit as stop:
        told = RuntimeError(f"it called sys.exit({'' if stop.code is None else repr(stop.code)})")
        raise told.with_traceback(stop.__traceback__) from stop
    finally:
        within = False
        if os._exit is refuse:
            os._exit = end


class StridewiseError(Exception):
    """Base of every error a user can meet. The command line prints its text as one line and exits with `exit_code`."""

    exit_code = 1


class GeometryError(StridewiseError):
    """No window fits, or sizes that must agree do not."""


class TraceError(StridewiseError):
    """The model could not be run on shapes alone, or its input does not suit it."""


class PlanError(StridewiseError):
    """A plan, or a request for one, that this network cannot take. The network is left as it was."""


class LoadError(StridewiseError):
    """A model, weights or file that cannot be found, read or trusted."""


class DataError(StridewiseError):
    """A data set that cannot be read or does not hold what the task needs."""


class MissingExtraError(StridewiseError):
    """An optional library is needed and is not installed."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install 'stridewise[{extra}]'")


class UsageError(StridewiseError):
    """A request that contradicts itself or names something that does not exist."""

    exit_code = 2


class StudyError(StridewiseError):
    """A study whose run folder cannot be used, or whose trainings gave nothing to choose from."""
