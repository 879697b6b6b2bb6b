"""The pictures of the page in docs/img, made from the real page in headless Chromium: light, dark, narrow, one window.

python benchmarks/page_pictures.py [--chromium /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import io
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from stridewise.web.server import bound, make_app
from stridewise.web.workbench import Workbench

OUT = Path(__file__).resolve().parent.parent / "docs" / "img"


def served(names: list[str]) -> str:
    """The address of a page over these networks, served in the background."""
    listener = bound(0)
    port = listener.getsockname()[1]
    bench = Workbench(names)
    server = uvicorn.Server(
        uvicorn.Config(make_app(bench, token="t", port=port), log_level="error", lifespan="off", ws="none")
    )
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    bench.find(0).wait()
    while not server.started:
        time.sleep(0.02)
    return f"http://127.0.0.1:{port}/?token=t"


def kept(page: Any, name: str, colours: int = 160, **how: Any) -> None:
    """A screenshot as a small PNG of few colours."""
    image = Image.open(io.BytesIO(page.screenshot(**how))).convert("RGB")
    image.quantize(colours, dither=Image.Dither.NONE).save(OUT / f"{name}.png", optimize=True)


def main() -> None:
    """Open the page as a person would and keep what it shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    address = served(["torchvision:resnet50", "builtin:resnet20"])
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=given.chromium, args=["--no-sandbox"])
        for name, scheme, size in (
            ("page-light", "light", (1440, 900)),
            ("page-dark", "dark", (1440, 900)),
            ("page-narrow", "light", (420, 900)),
        ):
            page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
            page.goto(address)
            page.wait_for_selector("#ladder .rise", timeout=60_000)
            page.locator("#keep").check()
            page.locator("#output-stride").select_option("16")
            page.locator(".ghosts").wait_for(state="attached")
            page.locator("#ladder .rise").last.focus()
            page.locator(".findings").wait_for(timeout=60_000)
            page.locator(".photo").evaluate("image => image.decode()")
            page.locator("#old-grid").wait_for(timeout=60_000)  # the plan was tried on the model
            page.wait_for_timeout(400)
            kept(page, name)
        page = browser.new_page(viewport={"width": 1150, "height": 900}, color_scheme="light")
        page.goto(address)
        page.wait_for_selector("#ladder .rise", timeout=60_000)
        page.locator("#room-convolution").click()
        page.locator("figure.made").nth(1).wait_for()
        frames = []
        for cell in range(36, 72, 2):
            page.locator(".wide-range input").fill(str(cell))
            page.wait_for_timeout(60)
            top, end = page.locator(".sliding").bounding_box(), page.locator(".products").bounding_box()
            assert top is not None
            assert end is not None
            down = page.evaluate("scrollY")
            clip = {
                "x": top["x"] - 8,
                "y": top["y"] + down - 8,
                "width": 1000,
                "height": end["y"] + end["height"] - top["y"] + 16,
            }
            shot = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True))).convert("RGB")
            small = shot.resize((shot.width // 2, shot.height // 2), Image.Resampling.LANCZOS)
            frames.append(small.quantize(48, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))
        frames[0].save(OUT / "page-sliding.gif", save_all=True, append_images=frames[1:], duration=220, loop=0)
        browser.close()
    for path in sorted(OUT.glob("page-*")):
        print(f"{path.name}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
