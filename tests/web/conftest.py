"""A page over a small network, as a test client that passes the guard."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("torch")

import uvicorn
from browsing import CHROMIUM
from starlette.testclient import TestClient

import stridewise as sw
from stridewise.web.server import bound, make_app, settings
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


NETWORK = """
import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return x * self.scale(x.mean((2, 3), keepdim=True)).sigmoid()


def gated():
    convs = [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), Gate(), nn.Conv2d(8, 8, 3, 2, 1)]
    return nn.Sequential(*convs, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def huge():
    return nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 9000, 7, 1, 3), nn.Conv2d(9000, 4, 1))


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Conv2d(3, 1, 3, 4, 1)

    def forward(self, x):
        found = self.map(x)
        best = found.flatten(1).topk(5).indices
        y, x = best // found.shape[3] * 4.0, best % found.shape[3] * 4.0
        corners = torch.stack([x, y, x + 4, y + 4], -1)
        labels, scores = torch.zeros(5, dtype=torch.long), torch.ones(5)
        return [{"boxes": each, "labels": labels, "scores": scores} for each in corners]


def boxes():
    torch.manual_seed(0)
    return Detector()
"""


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a user's own networks: one with a gate, one too large to run, one that says boxes."""
    file = tmp_path_factory.mktemp("networks") / "mine.py"
    file.write_text(NETWORK)
    return file


@contextmanager
def served(app_of: Callable[[int], Any], port: int = 0) -> Iterator[str]:
    """The address of a page that is served until the block ends."""
    listener = bound(port)
    number = listener.getsockname()[1]
    server = uvicorn.Server(settings(app_of(number)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{number}/?token=t"
    server.should_exit = server.force_exit = True
    thread.join(5)


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return served


@pytest.fixture(scope="session")
def address(networks: Path) -> Iterator[str]:
    own = [f"{networks}:{name}" for name in ("gated", "huge", "boxes")]
    bench = Workbench(["builtin:resnet20", "builtin:nothing", *own])
    with served(lambda port: make_app(bench, token="t", port=port)) as where:
        yield where


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a study whose score is drawn."""
    folder = tmp_path_factory.mktemp("runs") / "study"
    graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32), name="builtin:resnet20-narrow")
    numbers = itertools.count()
    sw.search(graph, score=lambda plan, budget, seed: 0.7 + next(numbers) % 7 / 50, budget=2, trials=5, run=folder)
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A fresh page; at the end nothing was complained of and nothing was asked of another machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 950}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(20_000)
    heard = SimpleNamespace(errors=[], asked=[], allowed=[])
    opened.on("console", lambda m: heard.errors.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda e: heard.errors.append(str(e)))
    opened.on("request", lambda r: heard.asked.append(r.url))
    opened.heard = heard
    yield opened
    unexpected = [e for e in heard.errors if not any(a in e for a in heard.allowed)]
    assert not unexpected
    assert all(u.startswith(("http://127.0.0.1:", "data:", "blob:", "file:")) for u in heard.asked)
    context.close()
