"""The learning path: the pages of docs/learn, read as steps. The wheel carries them; a checkout has them in docs."""

import re
from dataclasses import dataclass
from pathlib import Path

from stridewise.errors import StridewiseError

_HERE = Path(__file__).parent
_PLACES = (_HERE / "learn", _HERE.parents[1] / "docs" / "learn")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_PAGE = re.compile(r"<!-- page: (\S+) -->\n")
_COMMENT = re.compile(r"<!--.*?-->\n")
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]*)\)\n?")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
_ANSWER = re.compile(r"<details[^>]*><summary>Answer</summary>\n(.*?)</details>", re.DOTALL)
_CONSOLE = re.compile(r"^\$ (stridewise .+)$", re.MULTILINE)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One step of the path.

    page: of which page it is a part; address: where the local page shows it, behind the `#`; text: plain words;
    picture: what the page shows there, in words; commands: to try, as they are typed; question and answer.
    """

    page: str
    title: str
    address: str
    text: str
    picture: str
    commands: tuple[str, ...]
    question: str
    answer: str


def lessons() -> tuple[Lesson, ...]:
    """All steps in order.

    Raises: StridewiseError where the package was built without its pages.
    """
    folder = next((place for place in _PLACES if place.is_dir()), None)
    if folder is None:
        raise StridewiseError("the pages of the learning path are missing: install stridewise again")
    pages = sorted(folder.glob("[0-9]*.md"))
    return tuple(lesson for page in pages for lesson in _of_page(page.read_text(encoding="utf-8")))


def _of_page(text: str) -> tuple[Lesson, ...]:
    title = _TITLE.search(text)
    assert title is not None
    return tuple(_lesson(title[1], part) for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:])


def _lesson(page: str, part: str) -> Lesson:
    title, _, body = part.partition("\n")
    address, picture, answer = _PAGE.search(body), _PICTURE.search(body), _ANSWER.search(body)
    assert address is not None, title
    assert picture is not None, title
    assert answer is not None, title
    commands = tuple(_CONSOLE.findall(body))
    told, _, asked = _FENCE.sub(_indented, body).partition("**Question.**")
    return Lesson(
        page=page,
        title=title,
        address=address[1],
        text=_plain(told),
        picture=picture[1],
        commands=commands,
        question=_plain(asked.partition("<details")[0]),
        answer=_plain(answer[1]),
    )


def _indented(fence: re.Match[str]) -> str:
    """A block of code set in by four; what commands print is left out, since they are run."""
    if fence[1] == "console":
        return ""
    return "".join(f"    {line}\n" for line in fence[2].splitlines()) + "\n"


def _plain(text: str) -> str:
    """Markdown as a terminal shows it: no comments, pictures, marks or links."""
    text = _PICTURE.sub("", _COMMENT.sub("", text))
    text = _LINK.sub(r"\1", text)
    text = re.sub(r"(?<![\w*])(\*\*|\*|`)(?=\S)(.+?)(?<=\S)\1(?![\w*])", r"\2", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
