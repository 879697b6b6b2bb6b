"""Attacks on the page's server: refused, logged, and the server lives on."""

import io
import logging
import struct
import zlib

import pytest
from PIL import Image
from starlette.testclient import TestClient

from stridewise.report.assets import script_hash, served_page


def alive(client: TestClient) -> bool:
    return client.get("/api/start").json()["networks"][0]["name"] == "builtin:resnet20"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "localhost", "", "127.0.0.1:8765.evil.example"])
def test_a_foreign_host_is_refused(client: TestClient, host: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "stridewise.web"):
        assert client.get("/api/start", headers={"host": host}).status_code == 403
    assert "is not this page's address" in caplog.text
    assert alive(client)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:8765"])
def test_a_foreign_origin_is_refused(client: TestClient, origin: str):
    answer = client.post("/api/what-if", json={"network": 0}, headers={"origin": origin})
    assert answer.status_code == 403
    assert "another site" in answer.json()["error"]
    assert alive(client)


def test_a_change_without_an_origin_is_refused(client: TestClient):
    del client.headers["origin"]
    assert client.post("/api/what-if", json={"network": 0}).status_code == 403
    assert client.get("/api/start").status_code == 200


def test_a_request_from_another_site_is_refused(client: TestClient):
    assert client.get("/api/start", headers={"sec-fetch-site": "cross-site"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/static/main.js?token=secret", "/api/start?token=secret"])
def test_without_the_token_nothing_is_served(stranger: TestClient, path: str):
    assert stranger.get(path).status_code == 403


@pytest.mark.parametrize("cookie", ["stridewise_8765=wrong", "stridewise_8765=", "other=secret", "\x01;;=", "é=1"])
def test_a_wrong_cookie_is_refused(stranger: TestClient, cookie: str):
    assert stranger.get("/api/start", headers=[(b"cookie", cookie.encode("latin-1"))]).status_code == 403


def test_the_cookie_is_strict_and_hidden_from_scripts(stranger: TestClient):
    cookie = stranger.get("/?token=secret").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_the_policy_lets_through_this_page_and_its_import_map_only(client: TestClient):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert script_hash(served_page()[1]) in policy
    assert f'<script type="importmap">{served_page()[1]}</script>' in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "../page.py",
        "..%2fpage.py",
        "%2e%2e/%2e%2e/errors.py",
        "vendor/VENDORED.toml",
        "/etc/passwd",
        "vendor/../../assets.py",
        "main.js%00",
        "__init__.py",
    ],
)
def test_no_path_leads_out_of_the_listed_files(client: TestClient, name: str):
    assert client.get(f"/static/{name}").status_code == 404
    assert alive(client)


def header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0" * 64)]
    written = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (*chunks, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def real(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "not a picture"),
        (b"<!doctype html><script>alert(1)</script>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"", "not a picture"),
        (b"\x00" * 4096, "not a picture"),
        (header_only(60000, 60000), "take"),
        (header_only(5000, 5000), "pixels: take a smaller picture"),
        (real()[:-200], "broken picture"),
        (real("JPEG")[:40], "take another"),
    ],
    ids=["svg", "html", "postscript", "empty", "zeros", "bomb", "large", "cut", "header"],
)
def test_what_is_no_picture_is_refused(client: TestClient, content: bytes, says: str, caplog: pytest.LogCaptureFixture):
    before = client.get("/api/start").json()["picture"]
    with caplog.at_level(logging.WARNING, "stridewise.web"):
        answer = client.post("/api/picture", content=content)
    assert answer.status_code == 422
    assert says in answer.json()["error"]
    assert "refused a picture" in caplog.text
    assert client.get("/api/start").json()["picture"] == before


def test_a_picture_is_taken_and_shown_as_the_network_reads_it(client: TestClient):
    assert client.post("/api/picture", content=real("JPEG")).json()["number"] == 2
    shown = Image.open(io.BytesIO(client.get("/api/picture?network=0").content))
    assert shown.size == (32, 32)
    assert shown.format == "PNG"


def test_too_many_bytes_are_refused_with_and_without_a_length(client: TestClient):
    assert client.post("/api/picture", content=b"x" * ((32 << 20) + 1)).status_code == 413

    def flood():
        for _ in range(34):
            yield b"x" * (1 << 20)

    assert client.post("/api/picture", content=flood()).status_code == 413
    assert client.post("/api/what-if", content=b"[" * ((1 << 20) + 1)).status_code == 413
    assert alive(client)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b'"text"', b"\xff\xfe", b"NaN"])
def test_what_is_no_request_is_refused_in_one_line(client: TestClient, content: bytes):
    answer = client.post("/api/what-if", content=content)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]
    assert alive(client)
