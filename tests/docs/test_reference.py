"""The reference names every public name of the library."""

from pathlib import Path

import stridewise as sw

PAGE = Path(__file__).parents[2] / "docs/reference/library.md"


def test_every_public_name_is_in_the_reference() -> None:
    listed = {line.rpartition(".")[2] for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == ":::"}
    assert {getattr(sw, name).__name__ for name in sw.__all__} <= listed
