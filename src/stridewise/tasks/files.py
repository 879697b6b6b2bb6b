"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from stridewise.errors import StridewiseError


@contextlib.contextmanager
def whole(path: Path, what: str, *, mark: str = "", rename: bool = True) -> Iterator[Path]:
    """A file beside `path` to write to, renamed to it in the end; taken away where writing fails.

    mark: sets it apart from other writers' (else this process's number); rename: False for all but one of several
    processes that write together. Raises: StridewiseError in one line: a full disk, a missing folder.
    """
    temporary = path.with_name(f".{path.name}.{mark or os.getpid()}")
    try:
        yield temporary
        if rename:
            temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise StridewiseError(f"{path}: the {what} cannot be written: {_line(error)}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust"):
            raise
        raise StridewiseError(f"{path}: the {what} cannot be written: {_line(error)}") from error
    finally:
        if rename:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, what: str = "file") -> None:
    """Write a file whole or not at all. Raises: StridewiseError."""
    with whole(path, what) as temporary:
        temporary.write_bytes(content)


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).strip() or type(error).__name__).splitlines()[0]
