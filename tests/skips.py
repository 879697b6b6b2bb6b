"""Which tests CI may leave out: those that skips.toml lists with a reason."""

import tomllib
from collections import Counter
from pathlib import Path

SKIPS = Path(__file__).parent / "skips.toml"


def unlisted(skipped: list[tuple[str, str]]) -> list[str]:
    """A line for every skip (file, what it says) that tests/skips.toml does not name, or names fewer times."""
    entries = tomllib.loads(SKIPS.read_text(encoding="utf-8"))["skip"]
    counts: Counter[int] = Counter()
    lines = []
    for test, reason in skipped:
        at = next(
            (k for k, e in enumerate(entries) if e["test"] in (test, "*") and reason.startswith(e["reason"])), None
        )
        if at is not None:
            counts[at] += 1
        if at is None or counts[at] > entries[at]["most"]:
            lines.append(f"{test}: {reason}" + ("" if at is None else f" (more than {entries[at]['most']} times)"))
    return lines
