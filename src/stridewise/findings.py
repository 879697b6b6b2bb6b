"""What a rule has to say about a network or a data set."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding: the rule's id, its severity ("info", "warning" or "error"), the place (`key`), one line of text."""

    rule: str
    severity: str
    key: str
    message: str
