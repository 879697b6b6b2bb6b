"""What a rule has to say about a network or a data set."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding: the rule's id, its severity ("info", "warning" or "error"), the place (`key`), one line of text.

    file, line: of a config that it speaks of; "" and 0 for none.
    """

    rule: str
    severity: str
    key: str
    message: str
    file: str = ""
    line: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values; file and line where it has them."""
        found = {"rule": self.rule, "severity": self.severity, "key": self.key, "message": self.message}
        return found | ({"file": self.file, "line": self.line} if self.file else {})
