"""The names of classes: as lists and tables give them, and as a data.yaml does."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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


_BYTES_LIMIT = 1_000_000
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_CLASSES_LIMIT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataYaml:
    """What a `data.yaml` says: class names in the order of their ids, the root (`path:`), folders or lists a split.

    posed: labels go on with key points behind their box (`kpt_shape:`).
    """

    names: tuple[str, ...]
    path: str = ""
    posed: bool = False
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_data_yaml(path: Path) -> DataYaml:
    """The names and splits of a `data.yaml`; empty where it has none.

    Raises: DataError when it is too long, ids have gaps, or `nc` is not the number of names.
    """
    if path.stat().st_size > _BYTES_LIMIT:
        raise DataError(f"{path}: over {_BYTES_LIMIT:,} bytes, which no data.yaml is: write it anew")
    entries = {key: _value(body, f"{path}: {key}") for key, body in _top_level(read_text(path))}
    names = _names(entries.get("names", {}), path)
    count = entries.get("nc", {}).get("", "")
    if names and count.isdecimal() and int(count) != len(names):
        raise DataError(f"{path}: nc is {count}, names lists {len(names)} classes: make them agree")
    splits = {split: tuple(entries[key].values()) for key, split in _SPLITS.items() if entries.get(key)}
    place = entries.get("path", {}).get("", "")
    return DataYaml(names=names, path=place, splits=splits, posed="kpt_shape" in entries)


def _top_level(text: str) -> Iterator[tuple[str, str]]:
    """Key and what stands behind and below it, comments gone, of the keys that are read."""
    key, body = "", ""
    for line in [*map(_without_comment, text.splitlines()), "end:"]:
        head = re.fullmatch(r"(\w+)\s*:(?:\s+(.*)|)", line)
        if head is None:
            body += "\n" + line
            continue
        if key in {"names", "nc", "path", "kpt_shape", *_SPLITS}:
            yield key, body.strip()
        key, body = head[1], head[2] or ""


def _value(body: str, where: str) -> dict[str, str]:
    """Entries by key: "" for one plain value, positions for a list, as written for a mapping."""
    if body[:1] in {"&", "*", "!", "|", ">"}:
        raise DataError(f"{where}: anchors, aliases, tags and folded text are not read: write plain names")
    if body[:1] in {"[", "{"}:
        items = list(_split(body.strip("[]{}").replace("\n", " ")))
    elif re.match(r"-\s|\S+\s*:\s", body):
        items = [re.sub(r"^-\s+", "", line.strip()) for line in body.splitlines()]
    else:
        return {"": _unquoted(body)} if body else {}
    entries: dict[str, str] = {}
    for item in (item.strip() for item in items):
        pair = re.fullmatch(r"(\d{1,6})\s*:\s*(.*)", item)
        if pair or item:
            entries[pair[1] if pair else str(len(entries))] = _unquoted(pair[2] if pair else item)
    return entries


def _names(entries: Mapping[str, str], path: Path) -> tuple[str, ...]:
    if not all(key.isdecimal() for key in entries):
        raise DataError(f"{path}: names: is no list of class names: write [a, b], - a lines or 0: a lines")
    numbered = {int(key): name for key, name in entries.items()}
    if len(numbered) > _CLASSES_LIMIT or sorted(numbered) != list(range(len(numbered))):
        first = f"{min(numbered)} to {max(numbered)}" if numbered else "none"
        raise DataError(
            f"{path}: names: does not number its classes 0 to {len(numbered) - 1} (ids are {first}): "
            "list every class once, from 0"
        )
    return tuple(numbered[code] for code in range(len(numbered)))


def _split(text: str) -> Iterator[str]:
    """At commas that stand in no quotes."""
    yield from (match[0] for match in re.finditer(r"""(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*'|[^,])+""", text))


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _without_comment(line: str) -> str:
    match = re.match(r"""(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*'|(?<!\s)\#|[^#])*""", "x" + line)
    return (match[0] if match else line)[1:].rstrip() if not line.startswith("#") else ""
