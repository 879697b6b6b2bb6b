"""Who may talk to the server, and what a page may do: host, origin, token, content security policy, body size."""

from __future__ import annotations

import hmac
import logging
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("stridewise.web")

MOST_BODY = 1 << 20  # bytes of a request
MOST_PICTURE = 32 << 20  # bytes of an uploaded picture
_HOSTS = ("127.0.0.1", "localhost")


def new_token() -> str:
    """A fresh secret, valid for one start of the server."""
    return secrets.token_urlsafe(24)


class Guard:
    """Lets through only this machine's own page: every request passes here first.

    The host must be this address, a foreign origin is refused, a request that changes something must name its origin,
    and the token must be in the address of the first page or in the cookie that page was answered with.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: int, imports: str) -> None:
        self.app, self.token = app, token
        self.cookie = f"stridewise_{port}"
        self.hosts = {f"{host}:{port}" for host in _HOSTS}
        self.origins = {f"http://{host}" for host in self.hosts}
        policy = (
            f"default-src 'self'; script-src 'self' {imports}; img-src 'self' data: blob:; object-src 'none'; "
            "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        )
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it in one line."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        reason = self._refusal(scope)
        if reason:
            log.warning("refused %s %s: %s", scope["method"], scope["path"][:80], reason)
            await JSONResponse({"error": reason}, status_code=403, headers=_text(self.headers))(scope, receive, send)
            return
        fresh = self._in_address(scope)
        size = 0
        is_picture = scope["path"] == "/api/picture"
        limit = MOST_PICTURE if is_picture else MOST_BODY

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                log.warning("refused %s %s: over %d bytes", scope["method"], scope["path"][:80], limit)
                raise HTTPException(413, _too_large(limit, is_picture))
            return message

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self.headers]
                if fresh:
                    value = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                    message["headers"].append((b"set-cookie", value.encode()))
            await send(message)

        if int(_header(scope, b"content-length") or 0) > limit:
            log.warning("refused %s %s: over %d bytes", scope["method"], scope["path"][:80], limit)
            refused = JSONResponse(
                {"error": _too_large(limit, is_picture)}, status_code=413, headers=_text(self.headers)
            )
            await refused(scope, receive, send)
            return
        await self.app(scope, counted, marked)

    def _refusal(self, scope: Scope) -> str:
        """Why a request is not let in; empty for one that is."""
        host = _header(scope, b"host")
        if host not in self.hosts:
            return f"host '{host[:60]}' is not this page's address"
        origin = _header(scope, b"origin")
        if origin and origin not in self.origins:
            return f"origin '{origin[:60]}' is another site's"
        if _header(scope, b"sec-fetch-site") not in ("", "same-origin", "none") and scope["path"] != "/":
            return "the request comes from another site"
        if not origin and scope["method"] not in ("GET", "HEAD"):
            return "a request that changes something names its origin"
        if not _header(scope, b"content-length").isdigit() and _header(scope, b"content-length"):
            return "a length that is no number"
        if not (self._in_address(scope) or self._in_cookie(scope)):
            return "the token is missing or of an earlier start: open the address that `stridewise serve` printed"
        return ""

    def _in_address(self, scope: Scope) -> bool:
        if scope["path"] != "/" or scope["method"] != "GET":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _in_cookie(self, scope: Scope) -> bool:
        try:
            cookie = SimpleCookie(_header(scope, b"cookie"))
        except CookieError:
            return False
        return self.cookie in cookie and hmac.compare_digest(cookie[self.cookie].value.encode(), self.token.encode())


def _too_large(limit: int, is_picture: bool) -> str:
    return f"more than {limit >> 20} MiB were sent: {'take a smaller picture' if is_picture else 'ask for less'}"


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _text(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}
