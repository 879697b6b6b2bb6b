"""Output files: written whole or not at all where that can be, and straight into pipes, devices and the like; and small
input files, read with an end in sight.

A regular file is written beside its place and renamed onto it, with the mode it had (a new one: what the umask leaves).
A symbolic link stays, and the file it leads to is replaced. A rename onto anything else would put a file in the place
of a pipe or a device node, so those are opened and written to.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stridewise.errors import StridewiseError


@contextlib.contextmanager
def whole(
    path: str | Path,
    what: str = "",
    *,
    error: type[StridewiseError] = StridewiseError,
    advice: str = "",
    mark: str = "",
    rename: bool = True,
) -> Iterator[Path]:
    """A file to write to, which takes the place of `path` in the end, or whose content goes there; nothing is left of
    it where writing fails.

    what: the file in words ("the checkpoint"); error: what is raised; advice: what works instead; mark: sets the file
    apart from other writers' (else this process's number); rename: False for all but one of several processes that
    write together. Raises: `error` in one line: a full disk, a missing folder, a folder in the file's place.
    """
    path = Path(path)
    try:
        with _straight(path) if _is_stream(path) else _beside(path, mark, rename) as place:
            yield place
    except (OSError, RuntimeError) as problem:  # torch reports a full disk as a RuntimeError
        raise error(_told(path, what, problem, advice)) from problem
    except Exception as problem:
        if type(problem).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust"):
            raise
        raise error(_told(path, what, problem, advice)) from problem


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; a name longer than the system takes is none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def read_bytes(path: str | Path, most: int = 64 << 20) -> bytes:
    """The content of a file, or of a pipe that somebody writes to. Raises: OSError, also where there are more than
    `most` bytes (`/dev/zero` has no end), or a pipe without a writer, which would be waited for without end."""
    found = bytearray()
    with open(path, "rb", buffering=0, opener=_at_once) as file:
        while len(found) <= most:
            part = file.read(1 << 20)
            if part is None:  # a pipe whose writer has nothing yet
                os.set_blocking(file.fileno(), True)
                continue
            if not part:
                break
            found += part
        if not found and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EPIPE, "a pipe that nobody writes to")
    if len(found) > most:
        raise OSError(errno.EFBIG, f"larger than {most >> 20} MiB")
    return bytes(found)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_bytes(
    path: str | Path,
    content: bytes,
    what: str = "",
    *,
    error: type[StridewiseError] = StridewiseError,
    advice: str = "",
) -> None:
    """Write a file. Raises: `error` in one line."""
    with whole(path, what, error=error, advice=advice) as place:
        place.write_bytes(content)


def write_text(
    path: str | Path, text: str, what: str = "", *, error: type[StridewiseError] = StridewiseError, advice: str = ""
) -> None:
    """Write a text file as UTF-8. Raises: `error` in one line."""
    write_bytes(path, text.encode(), what, error=error, advice=advice)


@contextlib.contextmanager
def staging(path: str | Path, what: str = "", *, error: type[StridewiseError] = StridewiseError) -> Iterator[Path]:
    """A folder to write a file of the name of `path` in, and others beside it (weights of their own file); all take
    their places in the end, that file last. Raises: `error` in one line."""
    path = Path(path)
    try:
        stream = _is_stream(path)
        target = Path(os.path.realpath(path)) if not stream else path
        with tempfile.TemporaryDirectory(dir=None if stream else target.parent, prefix=f".{path.name}.") as name:
            folder = Path(name)
            yield folder
            for other in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
                if stream and other.name == path.name:
                    _pour(other, path)
                elif stream:
                    raise OSError(errno.ENOTSUP, f"it comes with {other.name}, which has no place beside it")
                else:
                    _rename(other, target if other.name == path.name else target.with_name(other.name))
    except OSError as problem:
        raise error(_told(path, what, problem, "")) from problem


def _rename(made: Path, target: Path) -> None:
    """Onto a regular file or none, whose mode it keeps."""
    with contextlib.suppress(FileNotFoundError):
        made.chmod(stat.S_IMODE(target.stat().st_mode))
    made.replace(target)


def _is_stream(path: Path) -> bool:
    """Whether something is there that is no regular file, or is one only because an open file has this name."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return not stat.S_ISREG(mode) or path.absolute().parts[1:2] in (("dev",), ("proc",))


@contextlib.contextmanager
def _straight(path: Path) -> Iterator[Path]:
    """A file elsewhere, poured into `path` once it is written: some writers seek, and a pipe cannot."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / (path.name or "out")
        yield place
        _pour(place, path)


def _pour(source: Path, path: Path) -> None:
    with source.open("rb") as made, path.open("r+b" if path.is_file() else "wb", buffering=0) as out:
        shutil.copyfileobj(made, out)


@contextlib.contextmanager
def _beside(path: Path, mark: str, rename: bool) -> Iterator[Path]:
    target = Path(os.path.realpath(path))
    place = target.with_name(f".{target.name}.{mark or os.getpid()}")
    try:
        place.touch()  # so that the folder is known to take it before anything is computed
        yield place
        if rename:
            _rename(place, target)
    finally:
        if rename:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)


def _told(path: Path, what: str, problem: Exception, advice: str) -> str:
    why = problem.strerror if isinstance(problem, OSError) else None
    if not why:
        why = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    return f"{path}: {what + ' ' if what else ''}cannot be written: {why}" + (f". {advice}" if advice else "")
