"""The cache of built-in data stays inside the test run."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIDEWISE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
