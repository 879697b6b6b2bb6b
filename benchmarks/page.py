"""How fast the page's what-if is: a request over the loopback, and the server's own time in it; a JSON line each."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from stridewise.web.server import bound, make_app, settings
from stridewise.web.workbench import Workbench

NETWORKS = {
    "torchvision:resnet50": [{"layer4.0.conv2": "1"}, {"conv1": "1"}, {"layer3.0.conv2": "1x2"}, {"+layer1.0": "2"}],
    "timm:hrnet_w18": [{"conv1": "1"}, {"conv2": "1"}, {"conv1": "1", "conv2": "1"}, {"conv1": "1x2"}],
}
RESULTS = Path(__file__).resolve().parent / "results" / "page.md"
BOUNDS = {"torchvision:resnet50": 5.0, "timm:hrnet_w18": 15.0}


def measured(name: str, rounds: int) -> dict[str, Any]:
    """Median and 95th percentile of a what-if, in milliseconds."""
    listener = bound(0)
    port = listener.getsockname()[1]
    bench = Workbench([name])
    bench.warm().join()
    studied = bench.find(0).wait()
    app = make_app(bench, token="t", port=port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", ws="none"))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    wire = http.client.HTTPConnection("127.0.0.1", port)
    wire.connect()
    wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as browsers do
    headers = {
        "Cookie": f"stridewise_{port}=t",
        "Origin": f"http://127.0.0.1:{port}",
        "Content-Type": "application/json",
    }
    trips, inside, sizes, again = [], [], [], []
    for turn in range(rounds + 8):
        studied.forget()
        body = json.dumps({"network": 0, "changes": NETWORKS[name][turn % len(NETWORKS[name])]})
        begun = time.perf_counter()
        wire.request("POST", "/api/what-if", body, headers)
        answer = wire.getresponse()
        text = answer.read()
        took = (time.perf_counter() - begun) * 1e3
        if turn >= 8:
            assert answer.status == 200, text[:200]
            trips.append(took)
            inside.append(json.loads(text)["ms"])
            sizes.append(len(text))
            wire.request("POST", "/api/what-if", body, headers)
            again.append(json.loads(wire.getresponse().read())["ms"])
    server.should_exit = True
    busy = []
    for turn in range(rounds):
        studied.forget()
        begun = time.thread_time()
        studied.what_if({"changes": NETWORKS[name][turn % len(NETWORKS[name])]})
        busy.append((time.thread_time() - begun) * 1e3)
    return {
        "benchmark": "page.what-if",
        "network": name,
        "layers": len(studied.original["layers"]),
        "n": rounds,
        "server_ms": {"median": round(statistics.median(inside), 2), "p95": round(_p95(inside), 2)},
        "processor_ms": {"median": round(statistics.median(busy), 2), "p95": round(_p95(busy), 2)},
        "round_trip_ms": {"median": round(statistics.median(trips), 2), "p95": round(_p95(trips), 2)},
        "again_ms": {"median": round(statistics.median(again), 2), "p95": round(_p95(again), 2)},
        "bytes": {"median": int(statistics.median(sizes)), "most": max(sizes)},
        "bound_ms": BOUNDS[name],
        "load": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }


FELT = {"timm:hrnet_w18": "conv1", "timm:tf_efficientnet_b7": "conv_stem"}
CHROMIUM = "/usr/bin/chromium"
_CHANGE = """async (changes) => {
  const { propose } = await import("sw/store");
  const told = document.querySelector("#consequences .facts.first");
  const before = told.textContent;
  const begun = performance.now();
  propose(changes, { commit: false });
  await new Promise((seen) => {
    const then = () => requestAnimationFrame(() => setTimeout(seen));
    const look = () => (told.textContent === before ? requestAnimationFrame(look) : then());
    requestAnimationFrame(look);
  });
  return performance.now() - begun;
}"""


def felt(name: str, rounds: int) -> dict[str, Any]:
    """From a move of a drag to the frame after its figures are drawn, in headless Chromium, milliseconds."""
    from playwright.sync_api import sync_playwright

    listener = bound(0)
    port = listener.getsockname()[1]
    bench = Workbench([name])
    bench.warm().join()
    server = uvicorn.Server(settings(make_app(bench, token="t", port=port)))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 950})
        page.goto(f"http://127.0.0.1:{port}/?token=t")
        page.wait_for_selector("#ladder .rise.movable")
        page.wait_for_timeout(1000)
        times = []
        for turn in range(rounds + 4):
            page.wait_for_timeout(250)  # the findings of the last change are there
            took = page.evaluate(_CHANGE, {FELT[name]: ["1", "1x2"][turn % 2]})
            if turn >= 4:
                times.append(took)
        browser.close()
    server.should_exit = True
    return {
        "benchmark": "page.felt",
        "network": name,
        "layers": len(bench.find(0).wait().original["layers"]),
        "n": rounds,
        "input_to_paint_ms": {"median": round(statistics.median(times), 1), "p95": round(_p95(times), 1)},
        "load": round(os.getloadavg()[0], 1),
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def main() -> None:
    """Print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--no-browser", action="store_true", help="Leave out what is felt in Chromium.")
    args = parser.parse_args()
    rounds = args.rounds
    found = []
    for name in NETWORKS:
        found.append(measured(name, rounds))
        print(json.dumps(found[-1]), flush=True)
    seen = [] if args.no_browser else [felt(name, min(args.rounds, 60)) for name in FELT]
    for row in seen:
        print(json.dumps(row), flush=True)
    RESULTS.write_text(table(found) + felt_table(seen))


def table(found: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    first = found[0]
    lines = [
        "# A what-if on the page",
        "",
        f"Median and 95th percentile of {first['n']} requests over the loopback, milliseconds; {first['cores']} cores "
        f"{first['machine']}, Python {first['python']}.",
        f"Load while it ran: {first['load']:.0f}; where others worked on the machine too, the processor's time says "
        "more than the server's. Every request counts anew; the last column but one is the same plan asked again, as a "
        "hand that drags to and fro does.",
        "Written by `python benchmarks/page.py`.",
        "",
        "| network | layers | server | its processor time | bound | round trip | again | bytes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        times = [
            f"{row[key]['median']:.1f} ({row[key]['p95']:.1f})"
            for key in ("server_ms", "processor_ms", "round_trip_ms", "again_ms")
        ]
        cells = [row["network"], row["layers"], *times[:2], row["bound_ms"], *times[2:], row["bytes"]["median"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def felt_table(found: list[dict[str, Any]]) -> str:
    """What is felt, as Markdown."""
    if not found:
        return ""
    lines = [
        "",
        "From a move of a drag to the frame after its figures are drawn, in headless Chromium, milliseconds "
        f"({found[0]['n']} moves; load {found[0]['load']:.0f}). Two plans in turn, so the server answers from memory: "
        "a plan not asked before adds its time above.",
        "",
        "| network | layers | input to paint |",
        "| --- | ---: | ---: |",
    ]
    for row in found:
        took = row["input_to_paint_ms"]
        lines.append(f"| {row['network']} | {row['layers']} | {took['median']:.0f} ({took['p95']:.0f}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
