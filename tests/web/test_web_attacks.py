"""What a page is sent by mistake or on purpose: answered or refused in one line, and nothing of it stays."""

import io
import logging
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from stridewise.web import api, server
from stridewise.web.server import make_app
from stridewise.web.workbench import Workbench

ROUTES = "what-if findings export request plan report convolution front front-plan jobs".split()
KEYS = (
    "network kind layer position axis plans plan changes picture inputs sites insert output_stride keep_weights means "
    "format request text stride kernel padding dilation point row column rows columns name"
).split()


def drawn(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, of the kinds that the page's own requests hold more often than others."""
    plain = [
        None,
        True,
        0,
        1,
        2,
        -1,
        10**9,
        1.5,
        1e300,
        "",
        "layers.1.conv1",
        "fc",
        "+layers.3",
        "\0",
        "2:blur:3",
        [1, 1],
    ]
    if depth < 3 and rng.random() < 0.4:
        if rng.random() < 0.5:
            return [drawn(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["layers.1.conv1", "stride", *KEYS]): drawn(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(plain)


@pytest.mark.parametrize("route", ROUTES)
def test_any_json_is_served_or_refused_in_one_line(client: TestClient, route: str) -> None:
    rng = random.Random(route)
    for _ in range(40):
        asked = {key: drawn(rng) for key in rng.sample(KEYS, rng.randrange(1, 8))}
        if rng.random() < 0.8:
            asked["network"] = 0
        if route == "jobs" and rng.random() < 0.8:
            asked["kind"] = rng.choice(["maps", "field"])
        answer = client.post(f"/api/{route}", json=asked)
        assert answer.status_code in (200, 422), asked
        if answer.status_code == 422:
            assert "\n" not in answer.json()["error"]
    assert client.get("/api/start").status_code == 200
    assert client.get("/api/jobs").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind": "maps", "network": 0, "layer": "\\ud800"}',
        b'{"kind": "maps", "network": 0, "\\udfff": 1}',
        b'{"kind": "field", "network": 0, "position": [NaN, 0]}',
        b'{"kind": "field", "network": 0, "position": [0, -Infinity]}',
        b'{"kind": "field", "network": 0, "position": [' + b"9" * 4000 + b", 0]}",
        b"[" * 100_000,
        b"\xff\xfe",
        b"",
        b'{"kind": ["maps"], "network": 0}',
        b'{"kind": "maps", "network": true}',
    ],
)
def test_no_text_or_number_poisons_the_page(client: TestClient, body: bytes) -> None:
    before = len(client.get("/api/jobs").json())
    for route in ("jobs", "what-if"):
        answer = client.post(f"/api/{route}", content=body)
        assert answer.status_code in (200, 422)
    assert client.get("/api/start").status_code == 200
    assert len(client.get("/api/jobs").json()) == before + (b"true" in body and answer.status_code == 200)


def test_a_large_request_is_not_called_a_picture(client: TestClient) -> None:
    answer = client.post("/api/what-if", content=b" " * (2 << 20))
    assert answer.status_code == 413
    assert answer.json()["error"] == "more than 1 MiB were sent: ask for less"


def test_half_connections_and_clients_that_leave_are_let_go(
    serve: Callable[..., Any], bench: Workbench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (api, server):
        monkeypatch.setattr(module, "_PATIENCE", 0.5)
    with (
        caplog.at_level(logging.ERROR),
        serve(lambda port: make_app(bench, token="t", port=port)) as address,
    ):
        port = int(address.split(":")[2].split("/")[0])
        head = (
            f"POST /api/picture HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Cookie: stridewise_{port}=t\r\nContent-Length: 100000\r\n\r\n"
        ).encode()
        halves = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
        for number, one in enumerate(halves):
            one.sendall([b"", b"GET / HT", head + b"x" * 10][number % 3])
        for one in halves[2:60:3]:
            one.close()  # in the middle of a picture
        waiting = [one for one in halves if one.fileno() >= 0]
        for one in waiting[:40]:
            one.settimeout(60)
            answer = one.recv(4096)
            assert not answer or answer.startswith(b"HTTP/1.1 4")
        for one in waiting:
            one.close()
        whole = socket.create_connection(("127.0.0.1", port))
        whole.settimeout(60)
        whole.sendall(f"GET /?token=t HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert whole.recv(100).startswith(b"HTTP/1.1 200")
        whole.close()
    assert "Traceback" not in caplog.text


def test_a_websocket_is_refused_without_advice_to_install_one(
    serve: Callable[..., Any], bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), serve(lambda port: make_app(bench, token="t", port=port)) as address:
        port = int(address.split(":")[2].split("/")[0])
        one = socket.create_connection(("127.0.0.1", port))
        one.settimeout(60)
        key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13"
        one.sendall(f"GET /api/start HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{key}\r\n\r\n".encode())
        assert one.recv(100).startswith(b"HTTP/1.1 403")
        one.close()
    assert "install" not in caplog.text


LARGE = """
import io, resource, sys, threading
import numpy as np
from stridewise.web.pictures import Pictures

content = sys.stdin.buffer.read()
pictures = Pictures()
pictures.levels()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
eight = [threading.Thread(target=pictures.replace, args=(content, str(n))) for n in range(8)]
for one in eight: one.start()
for one in eight: one.join()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(pictures.number, *pictures.levels().shape, pictures.levels().dtype, (after - before) // 1024)
"""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "RGBA", "I;16"])
def test_large_pictures_take_little_memory_also_eight_at_once(kind: str) -> None:
    rng = np.random.default_rng(0)
    side = 3464 if kind == "JPEG" else 4000  # 12 megapixels
    levels = np.kron(rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    image = Image.fromarray(levels)
    if kind == "RGBA":
        image.putalpha(128)
    if kind == "I;16":
        image = Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    out = io.BytesIO()
    image.save(out, "JPEG" if kind == "JPEG" else "PNG")
    ran = subprocess.run([sys.executable, "-c", LARGE], input=out.getvalue(), capture_output=True, check=True)
    number, *shape, dtype, megabytes = ran.stdout.decode().split()
    assert (number, dtype) == ("9", "uint8")
    assert shape == ["3", *["1024" if kind != "JPEG" else shape[1]] * 2]
    assert int(shape[1]) <= 1024
    assert int(megabytes) < 250


def test_a_shrunk_picture_is_the_picture(client: TestClient) -> None:
    """Placed and coloured as it is: a corner of red stays in its corner, upright after its orientation is applied."""
    levels = np.zeros((1500, 2200, 3), np.uint8)
    levels[:300, :300] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "JPEG", exif=exif, quality=95)
    assert client.post("/api/picture", content=out.getvalue()).status_code == 200
    from stridewise.convolution.reading import read_shrunk

    found = read_shrunk(out.getvalue(), 1024)
    assert found.shape[2] < found.shape[1] <= 1024
    reds = np.argwhere(found[0] > 200)
    assert reds[:, 0].max() < 0.2 * found.shape[1]
    assert reds[:, 1].min() > 0.75 * found.shape[2]


@pytest.mark.parametrize("option", [["--weights", "nothing.safetensors"]])
def test_what_is_wrong_with_the_options_is_said_at_the_start(option: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "stridewise", "serve", "builtin:resnet20", "--no-browser", *option],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "nothing.safetensors" in ran.stderr
