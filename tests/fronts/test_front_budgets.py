"""Budgets as texts, the same in the library as on the command line."""

import pytest

from stridewise.errors import PlanError
from stridewise.fronts.asked import budget


@pytest.mark.parametrize(
    ("name", "value", "whole"),
    [
        ("max_macs", "0.7x", 70),
        ("max_macs", "300M", 300_000_000),
        ("max_macs", "1.2G", 1_200_000_000),
        ("max_macs", "12", 12),
        ("max_macs", 12, 12),
        ("max_peak_bytes", "64M", 64 << 20),
        ("max_peak_bytes", "1.5GiB", 3 << 29),
        ("max_macs", None, None),
    ],
)
def test_a_budget_in_whole_numbers(name, value, whole):
    assert budget(name, value, 100) == whole


@pytest.mark.parametrize("value", ["much", "0x", "-1M", "", 0, -3, True, 1.5, "x", "1e9"])
def test_what_is_no_budget_is_told(value):
    with pytest.raises(PlanError, match="max_macs: a budget is"):
        budget("max_macs", value, 100)
