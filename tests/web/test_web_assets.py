"""The page's files: vendored ones are the published ones, every import is resolved, nothing points off the machine."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stridewise.report import assets

STATIC = Path(assets.__file__).parent / "static"
LISTS = [STATIC / "vendor" / "VENDORED.toml", Path(__file__).parent / "vendor" / "VENDORED.toml"]
ROWS = [(path.parent, row) for path in LISTS for row in tomllib.loads(path.read_text())["file"]]


@pytest.mark.parametrize(("folder", "row"), ROWS, ids=lambda value: value["name"] if isinstance(value, dict) else "")
def test_a_vendored_file_is_the_published_one(folder: Path, row: dict[str, str]):
    assert hashlib.sha256((folder / row["name"]).read_bytes()).hexdigest() == row["sha256"]
    assert (folder / row["licence_file"]).stat().st_size > 500
    assert row["version"]


def test_every_vendored_file_is_listed():
    for path in LISTS:
        listed = {row["name"] for row in tomllib.loads(path.read_text())["file"]}
        assert {p.name for p in path.parent.iterdir() if p.suffix in (".js", ".mjs")} == listed


def test_every_import_is_in_the_map():
    known = set(assets.specifiers())
    for name, text in assets.asset_texts().items():
        if name.endswith((".js", ".mjs")):
            for found in re.findall(r'(?:from|import)\s*"([^"]+)"', text):
                assert found in known, f"{name} imports {found}"


def test_own_files_name_no_address():
    for name, text in assets.asset_texts().items():
        if not name.startswith("vendor/"):
            found = [u for u in re.findall(r"https?://[^\s\"'`)]+", text) if "www.w3.org" not in u]
            assert not found, f"{name}: {found}"


def test_own_modules_stay_readable():
    for path in STATIC.glob("*.js"):
        assert len(path.read_text().splitlines()) <= 300, path.name


def test_a_file_carries_its_modules_and_cannot_be_broken_out_of():
    text = assets.whole_page("a <title>", {"report": "</script><script>alert(1)</script>"}, "<p>plain</p>")
    imports = json.loads(re.search(r'<script type="importmap">(.*?)</script>', text).group(1))["imports"]
    assert all(address.startswith("data:text/javascript;base64,") for address in imports.values())
    assert "alert(1)</script>" not in text
    assert "a &lt;title&gt;" in text
    embedded = re.search(r'id="data">(.*?)</script>', text).group(1)
    assert json.loads(embedded)["report"] == "</script><script>alert(1)</script>"


def test_the_page_starts_without_torch():
    code = "import sys, stridewise.web.server, stridewise.cli.serve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
