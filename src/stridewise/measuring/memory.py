"""Peak memory of one call, measured at the allocator, beside the estimate from the graph."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else its library writes to standard error when it starts and stops


def peak_memory(call: Callable[..., Any], x: torch.Tensor) -> int | None:
    """Most bytes the call held at once beyond what was there before; weights and the input are not counted.

    On a GPU torch's allocator says so; on the CPU every allocation and release torch reports is added up. None where
    nothing is reported, as for onnxruntime, which has an allocator of its own (see onnx_memory).
    """
    with torch.inference_mode():
        if x.device.type == "cuda":
            before = torch.cuda.memory_allocated(x.device)
            torch.cuda.reset_peak_memory_stats(x.device)
            call(x)
            torch.cuda.synchronize(x.device)
            return int(torch.cuda.max_memory_allocated(x.device) - before)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            call(x)
    results: Any = record.profiler
    held = most = 0
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: int(e.start_ns())):
        held += event.nbytes()
        most = max(most, held)
    return most or None
