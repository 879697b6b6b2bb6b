"""How long networks take, end to end, in turn in one run, so that a slow moment meets all of them."""

from __future__ import annotations

import mmap
import platform
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stridewise.errors import UsageError

MIN_ROUNDS = 10
MOST_ROUNDS = 10_000
_WARM_UPS = 3
_PAGE = mmap.PAGESIZE
_LOOK_EVERY = 0.001  # seconds between looks at the process's memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One network's measured latency. Units: seconds a call of the whole batch; peak_bytes: memory the process gained
    during one call, None where it was not measured.

    ratio: the median over rounds of (this call / the first network's call in the same round), with its quartiles.
    """

    name: str
    ratio: float
    ratio_low: float
    ratio_high: float
    median: float
    low: float
    high: float
    rounds: int
    batch: int
    threads: int
    device: str
    machine: str
    peak_bytes: int | None = None

    @property
    def differs(self) -> bool:
        """Whether the quartiles of the ratio lie on one side of 1: else no difference to the first network is shown."""
        return not self.ratio_low <= 1 <= self.ratio_high

    def __str__(self) -> str:
        alike = "" if self.differs or self.ratio_low == self.ratio_high else "; no difference shown"
        return (
            f"{self.name}: {self.ratio:.2f}x ({self.ratio_low:.2f} to {self.ratio_high:.2f}{alike}), "
            f"{1e3 * self.median:.2f} ms (quartiles {1e3 * self.low:.2f} to {1e3 * self.high:.2f}; measured, "
            f"{self.rounds} rounds, batch {self.batch}, {self.threads} thread{'s' if self.threads > 1 else ''})"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "measured", **asdict(self), "differs_from_first": self.differs}


def latency(
    models: Mapping[str, Callable[..., Any]],
    x: Any,
    *,
    rounds: int = 20,
    threads: int = 1,
    memory: bool = False,
    tick: Callable[[int, int], None] | None = None,
) -> tuple[Latency, ...]:
    """One record a network, in the order given; ratios are to the first.

    x: what each is called with, a tensor with the batch first (its device is where they run). Every round calls every
    network once, in an order that turns, after warm-up calls that are not counted. memory: also the process's peak gain
    in one further call. tick: called with rounds done and rounds in all.
    Raises: UsageError for fewer than 10 rounds or more than 10,000, or no networks.
    """
    import torch

    if not MIN_ROUNDS <= rounds <= MOST_ROUNDS or not models:
        raise UsageError(
            f"latency: {rounds} rounds of {len(models)} networks: measure one or more, {MIN_ROUNDS} rounds or more, "
            f"up to {MOST_ROUNDS:,}"
        )
    device = torch.device(getattr(x, "device", "cpu"))

    def timed(call: Callable[..., Any]) -> float:
        begin = time.perf_counter()
        call(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    names = list(models)
    times: dict[str, list[float]] = {name: [] for name in names}
    with _threads(threads), torch.inference_mode():
        for name in names:
            for _ in range(_WARM_UPS):
                timed(models[name])
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                times[name].append(timed(models[name]))
            if tick is not None:
                tick(number + 1, rounds)
        peaks = {name: _peak(lambda call=models[name]: timed(call), device) if memory else None for name in names}  # type: ignore[misc]
    first = times[names[0]]
    out = []
    for name in names:
        low, median, high = statistics.quantiles(times[name], n=4)
        ratios = statistics.quantiles([a / b for a, b in zip(times[name], first, strict=True)], n=4)
        out.append(
            Latency(
                name=name,
                ratio=ratios[1],
                ratio_low=ratios[0],
                ratio_high=ratios[2],
                median=median,
                low=low,
                high=high,
                rounds=rounds,
                batch=len(x),
                threads=threads,
                device=str(device),
                machine=_machine(device),
                peak_bytes=peaks[name],
            )
        )
    return tuple(out)


@contextmanager
def _threads(count: int) -> Any:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _peak(call: Callable[[], float], device: Any) -> int | None:
    """Bytes gained while `call` runs: the allocator's peak on a GPU, the resident set's on Linux, None elsewhere."""
    import torch

    if device.type == "cuda":
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return int(torch.cuda.max_memory_allocated(device) - held)
    before = _resident()
    if before is None:
        return None
    most, stop = before, threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(_LOOK_EVERY):
            most = max(most, _resident() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
    finally:
        stop.set()
        watcher.join()
    return max(most, _resident() or 0) - before


def _resident() -> int | None:
    """Bytes of this process in memory now. Source: proc(5), statm, second field, in pages."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:
        return None


def _machine(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()
