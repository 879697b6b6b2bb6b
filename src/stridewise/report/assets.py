"""The page's files: its modules and how bare imports find them, for a server and inside one file alike."""

from __future__ import annotations

import base64
import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

OWN = "sw/"
"""Modules of the page import each other as `sw/NAME`; the import map says where that is."""


@cache
def asset_texts() -> Mapping[str, str]:
    """Every file of the page by the name a browser asks for: `ladder.js`, `page.css`, `vendor/preact.mjs`."""
    room = files("stridewise.report").joinpath("static")
    found = {e.name: e.read_text("utf-8") for e in room.iterdir() if e.name.endswith((".js", ".css", ".svg"))}
    vendor = room.joinpath("vendor")
    found |= {f"vendor/{e.name}": e.read_text("utf-8") for e in vendor.iterdir() if e.name.endswith(".mjs")}
    return found


@cache
def specifiers() -> Mapping[str, str]:
    """The file behind every bare import."""
    listed = files("stridewise.report").joinpath("static", "vendor", "VENDORED.toml").read_text("utf-8")
    vendored = {row["specifier"]: f"vendor/{row['name']}" for row in tomllib.loads(listed)["file"]}
    own = {f"{OWN}{name.removesuffix('.js')}": name for name in asset_texts() if name.endswith(".js")}
    return vendored | dict(sorted(own.items()))


def import_map(address: Callable[[str], str]) -> str:
    """The text of the import map when a file's address is `address(name)`."""
    return json.dumps({"imports": {name: address(file) for name, file in specifiers().items()}}, separators=(",", ":"))


def embedded(name: str) -> str:
    """A module as a `data:` address, for pages opened from a file, where none is fetched."""
    return "data:text/javascript;base64," + base64.b64encode(asset_texts()[name].encode()).decode()


def script_hash(text: str) -> str:
    """The source expression that lets one inline script through a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def served_page() -> tuple[str, str]:
    """(page, import map) whose files lie under /static/."""
    text = import_map(lambda name: f"/static/{name}")
    head = '<link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/page.css">'
    boot = '<script type="module" src="/static/main.js"></script>'
    return _document("Stridewise", head, text, boot, "<p>This page needs JavaScript, from this machine only.</p>"), text


def whole_page(title: str, data: Mapping[str, Any], fallback: str) -> str:
    """One page with everything inside: style, modules and data; `fallback` is what is read without JavaScript."""
    written = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    icon = base64.b64encode(asset_texts()["icon.svg"].encode()).decode()
    policy = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data: blob:"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'  # nothing leaves the file
    head += f'<link rel="icon" href="data:image/svg+xml;base64,{icon}"><style>{asset_texts()["page.css"]}</style>'
    boot = (
        f'<script type="application/json" id="data">{written}</script>'
        f'<script type="module">import "{OWN}main";</script>'
    )
    return _document(title, head, import_map(embedded), boot, fallback)


def _document(title: str, head: str, imports: str, boot: str, fallback: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title>{head}"
        f'<script type="importmap">{imports}</script></head>\n'
        f'<body><div id="page"></div><noscript>{fallback}</noscript>{boot}</body></html>\n'
    )
