"""What can go wrong, each kind with a class of its own. A message is one line: where, what, what to do."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

LARGEST = 2**31 - 1
"""The largest whole number that a size, a count or a seed may be."""


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
    """Base of every error a user can meet. The command line prints its text as one line and exits with `exit_code`.

    >>> try:
    ...     sw.load("builtin:nothing")
    ... except sw.StridewiseError as error:
    ...     print(error.exit_code, type(error).__name__)
    1 LoadError
    """

    exit_code = 1


class GeometryError(StridewiseError):
    """No window fits, or sizes that must agree do not.

    >>> sw.slide([[0, 1]], "sobel-x")
    Traceback (most recent call last):
        ...
    stridewise.errors.GeometryError: axis 0: no window fits: the kernel spans 3 positions, the ...
    """


class TraceError(StridewiseError):
    """The model could not be run on shapes alone, or its input does not suit it.

    >>> sw.trace(sw.load("builtin:resnet20-narrow"), (4, 32, 32))
    Traceback (most recent call last):
        ...
    stridewise.errors.TraceError: ResNet20: the forward failed at input 4x32x32 in 'layers.0.0': ...
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Instead:
    """A request that does work where another was refused: what to ask, the strides that then go out, its work.

    request: name -> setting; output_stride: asked beside it, or None; macs: multiply-adds.
    """

    request: Mapping[str, str]
    output_stride: str | None
    strides: tuple[str, ...]
    macs: int

    def __str__(self) -> str:
        asks = [f"{name}={value}" for name, value in self.request.items()]
        return " ".join([*asks, *([f"output stride {self.output_stride}"] if self.output_stride else [])])

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "request": dict(self.request),
            "output_stride": self.output_stride,
            "strides": list(self.strides),
            "macs": self.macs,
        }


class PlanError(StridewiseError):
    """A plan, or a request for one, that this network cannot take. The network is left as it was.

    instead: the nearest requests that do work, at most five, where some were found.

    >>> sw.plan(sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32)), {"conv9": 2})
    Traceback (most recent call last):
        ...
    stridewise.errors.PlanError: conv9: no site of that name; near it are layers.9.conv2, ...
    """

    instead: tuple[Instead, ...] = ()


class LoadError(StridewiseError):
    """A model, weights or file that cannot be found, read or trusted.

    >>> sw.load("builtin:nothing")
    Traceback (most recent call last):
        ...
    stridewise.errors.LoadError: no built-in model 'nothing'; there are resnet20, resnet20-narrow, ...
    """


class DataError(StridewiseError):
    """A data set that cannot be read or does not hold what the task needs.

    >>> sw.fit("nowhere", "classify")
    Traceback (most recent call last):
        ...
    stridewise.errors.DataError: nowhere: no such file or folder: give a folder, an .npz, a COCO ...
    """


class MissingExtraError(StridewiseError):
    """An optional library is needed and is not installed.

    >>> raise sw.MissingExtraError("pandas", "frames", "to_frame")
    Traceback (most recent call last):
        ...
    stridewise.errors.MissingExtraError: to_frame needs pandas, which is not installed: pip install ...
    """

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install 'stridewise[{extra}]'")


_EXTRA_OF = {
    **dict.fromkeys(("search", "demo"), "study"),
    **dict.fromkeys(("train", "evaluate", "predict", "load_trained"), "train"),
}
"""What commands and public functions need beyond [torch]: one name brings all of it."""
_OF_LIBRARY = {
    "torch": "torch",
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    **dict.fromkeys(("lightning", "torchmetrics", "scipy", "sklearn"), "train"),
    **dict.fromkeys(("optuna", "sqlalchemy", "filelock"), "study"),
}


def missing_extra(error: ImportError, name: str) -> MissingExtraError | None:
    """What to install where a command or a public function (`name`) met a library that is not there; None where the
    library is none of an extra."""
    library = (error.name or "").partition(".")[0]
    if library not in _OF_LIBRARY:
        return None
    return MissingExtraError(library, _EXTRA_OF.get(name, _OF_LIBRARY[library]), name)


class UsageError(StridewiseError):
    """A request that contradicts itself or names something that does not exist.

    >>> sw.slide([[0, 1]], "sobel-z")
    Traceback (most recent call last):
        ...
    stridewise.errors.UsageError: kernel 'sobel-z' is unknown and no file has that name: take one ...
    """

    exit_code = 2


class StudyError(StridewiseError):
    """A study whose run folder cannot be used, or whose trainings gave nothing to choose from.

    >>> import pathlib
    >>> pathlib.Path("old").mkdir()
    >>> _ = pathlib.Path("old/study.db").write_text("no study")
    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> sw.search(graph, score=lambda plan, epochs, seed: 1.0, run="old")
    Traceback (most recent call last):
        ...
    stridewise.errors.StudyError: old/study.db: cannot be opened as a study ...
    """
