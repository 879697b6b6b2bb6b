"""A page over a small network, as a test client that passes the guard."""

import pytest

pytest.importorskip("starlette")
pytest.importorskip("torch")

from starlette.testclient import TestClient

from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

PORT = 8765
ORIGIN = f"http://127.0.0.1:{PORT}"


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small forwards on a busy machine wait for each other's threads otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench(["builtin:resnet20"])


@pytest.fixture
def stranger(bench: Workbench) -> TestClient:
    """Somebody without the token."""
    return TestClient(make_app(bench, token="secret", port=PORT), base_url=ORIGIN)


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """The page itself: opened with the token, its origin on every request."""
    assert stranger.get("/?token=secret").status_code == 200
    stranger.headers["origin"] = ORIGIN
    return stranger
