"""Class lists as they lie beside data sets: `classes.txt` or a colour table."""

import re
from dataclasses import dataclass
from pathlib import Path

from stridewise.errors import DataError

FILES = (
    "classes.txt",
    "obj.names",
    "class_names.txt",
    "labels.txt",
    "palette.txt",
    "label_colors.txt",
    "class_dict.csv",
)
VOID = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLine:
    """One class: its name, and the id or the colour (0xRRGGBB) that stands for it where the line gives one."""

    name: str
    code: int | None = None
    colour: int | None = None

    @property
    def void(self) -> bool:
        """Whether its pixels count nowhere."""
        return self.name.lower() in VOID


def find_class_file(root: Path) -> Path | None:
    """The first class list that lies in `root`."""
    return next((root / name for name in FILES if (root / name).is_file()), None)


def read_class_file(path: Path) -> tuple[ClassLine, ...]:
    """The classes in a text file: `name`, `id name`, `R G B name`, `id R G B name`, `name R G B`; `#` comments.

    Raises: DataError for a line of another form, for a repeated name, or when there is none.
    """
    lines = []
    for number, text in enumerate(read_text(path).splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", text).strip()
        if line and not re.fullmatch(r"name\s*,.*", line):  # the head of a class_dict.csv
            lines.append(_line(line, f"{path.name}:{number}"))
    names = [line.name for line in lines]
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path}: {'names a class twice' if names else 'names no class'}: write one class a line")
    return tuple(lines)


def _line(line: str, where: str) -> ClassLine:
    words = [word for word in re.split(r"[,;\s]+", line) if word]
    lead = _numbers(words)
    tail = 3 if lead == 0 and _numbers(words[::-1]) == 3 else 0  # a name may end in one number: "lane 2"
    numbers = [int(word) for word in words[:lead] + words[len(words) - tail :]]
    name = " ".join(words[lead : len(words) - tail])
    channels = numbers[-3:] if len(numbers) >= 3 else []
    if not name or len(numbers) == 2 or max(channels, default=0) > 255 or max(numbers, default=0) > 65535:
        raise DataError(
            f"{where}: {line[:40]!r} is not `name`, `id name` or `R G B name`: ids end at 65535, colours at 255"
        )
    return ClassLine(
        name=name,
        code=numbers[0] if len(numbers) in (1, 4) else None,
        colour=int.from_bytes(bytes(channels)) if channels else None,
    )


def _numbers(words: list[str]) -> int:
    count = 0
    while count < min(4, len(words) - 1) and re.fullmatch(r"\d{1,6}", words[count], re.ASCII):
        count += 1
    return count


def read_text(path: Path) -> str:
    """A text file. Raises: DataError when it is no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: write it as UTF-8") from error
