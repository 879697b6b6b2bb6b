"""Random small networks as ONNX files under random caps: equal in onnxruntime, or refused in one line."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import stridewise as sw
from stridewise.errors import GeometryError, PlanError, TraceError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from stridewise.onnxfile.verify import compare_files

from .networks import Straight
from .test_set_onnx import CLOSE, export
from .test_set_random import branches, layers, pair


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.one_of(layers(), branches()), min_size=1, max_size=5),
    pair(st.sampled_from([1, 2, 4])),
    pair(st.integers(24, 41)),
    st.booleans(),
)
def test_is_equal_or_refused(parts, cap, size, is_open):
    torch.manual_seed(0)
    model = Straight(*parts).eval()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "m.onnx", Path(folder) / "n.onnx"
        try:
            sw.trace(model, (3, 32, 32))
            sw.trace(model, (3, *size))
            export(model, (3, 32, 32) if is_open else (3, *size), before, is_open)
            graph = sw.read_onnx(before, (3, 32, 32) if is_open else None)
            compare_files(before, before, input=(3, *size))
        except (TraceError, GeometryError, RuntimeError, torch.onnx.errors.OnnxExporterError, PlanError):
            assume(False)  # torch or onnxruntime does not run it as it is
        try:
            plan = sw.plan(graph, output_stride=cap, keep_weights=True)
            done = sw.apply(before, plan, out=after, input=(3, 32, 32) if is_open else None)
        except PlanError as error:
            assert "\n" not in str(error)
            assert "was promised" not in str(error)
            assert not after.exists()
            return
        assert done.certificate.exact
        found = compare_files(before, after, input=(3, *size))
        assert max(found.differences.values()) <= 5 * CLOSE, found
