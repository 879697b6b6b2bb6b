"""The cache of built-in data stays inside the test run."""

import pytest


@pytest.fixture(autouse=True)
def _apart(own_cache: None) -> None:
    pass
