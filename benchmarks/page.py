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

from stridewise.web.server import bound, make_app
from stridewise.web.workbench import Workbench

NETWORKS = {
    "torchvision:resnet50": [{"layer4.0.conv2": "1"}, {"conv1": "1"}, {"layer3.0.conv2": "1x2"}, {"+layer1.0": "2"}],
    "timm:hrnet_w18": [{"conv1": "1"}, {"conv2": "1"}, {"conv1": "1", "conv2": "1"}, {"conv1": "1x2"}],
}
RESULTS = Path(__file__).resolve().parent / "results" / "page.md"
BOUNDS = {"torchvision:resnet50": 5.0, "timm:hrnet_w18": 20.0}


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
    trips, inside, sizes = [], [], []
    for turn in range(rounds + 8):
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
    server.should_exit = True
    busy = []
    for turn in range(rounds):
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
        "bytes": {"median": int(statistics.median(sizes)), "most": max(sizes)},
        "bound_ms": BOUNDS[name],
        "load": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def main() -> None:
    """Print one line a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    found = []
    for name in NETWORKS:
        found.append(measured(name, rounds))
        print(json.dumps(found[-1]), flush=True)
    RESULTS.write_text(table(found))


def table(found: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    first = found[0]
    lines = [
        "# A what-if on the page",
        "",
        f"Median and 95th percentile of {first['n']} requests over the loopback, milliseconds; {first['cores']} cores "
        f"{first['machine']}, Python {first['python']}.",
        f"Load while it ran: {first['load']:.0f}; where others worked on the machine too, the processor's time says "
        "more than the server's.",
        "Written by `python benchmarks/page.py`.",
        "",
        "| network | layers | server | its processor time | bound | round trip | bytes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found:
        times = [
            f"{row[key]['median']:.1f} ({row[key]['p95']:.1f})"
            for key in ("server_ms", "processor_ms", "round_trip_ms")
        ]
        cells = [row["network"], row["layers"], *times[:2], row["bound_ms"], times[2], row["bytes"]["median"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
