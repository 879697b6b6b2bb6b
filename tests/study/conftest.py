"""What the tests of studies share."""

from collections.abc import Iterator

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine


def _unsynced(connection, _record) -> None:
    """A killed process loses nothing that the system has; only a power cut would, and there is none in a test."""
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("pragma synchronous=off")


@pytest.fixture(scope="session", autouse=True)
def quick_databases() -> Iterator[None]:
    """Databases of studies in these processes do not wait for the disk: a third of a study's time here."""
    event.listen(Engine, "connect", _unsynced)
    yield
    event.remove(Engine, "connect", _unsynced)
