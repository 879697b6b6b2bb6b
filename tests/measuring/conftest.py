"""Built-in data in a cache of the test run, and torch on one thread, for every test here."""

import pytest


@pytest.fixture(autouse=True)
def _apart(own_cache: None, one_thread: None) -> None:
    pass
