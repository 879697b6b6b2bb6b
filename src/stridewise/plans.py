"""The plan: which sites and slots change, to what, and what they were. Read from and written to TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from stridewise.errors import PlanError, by, once
from stridewise.files import read_bytes, write_text
from stridewise.report.document import Document, Table
from stridewise.shown import Shown

FORMAT = 1
KINDS = ("stride", "blur", "polyphase", "mean", "max", "space-to-depth")
BORDERS = ("reflect", "zero", "circular")

Input: TypeAlias = Any
"""Channels and sizes, or text that says more ("77:int64", "64x64x3@NHWC"); by name where there are several inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a plan says of one site or slot. stride, was: one entry an axis; downsample: how the step is made;
    filter: the blur's taps (2 to 7); border: how a blur continues the map."""

    stride: tuple[int, ...]
    was: tuple[int, ...]
    downsample: str = "stride"
    filter: int | None = None
    border: str = "reflect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Shown):
    """A completed plan: only what differs, each with what it was. `str()` lists it; `write` and `read` keep it as TOML.

    keep_weights: steps that go are replaced by dilation, so that trained weights stay exact. means: "dense" or "grid".
    input: channels and sizes it was made at, by name where the network takes several inputs. fingerprint: of the sites
    of the network it was made for (`Graph.fingerprint`), "" where nothing is known of them; another is refused.

    >>> graph = sw.trace(sw.load("builtin:resnet20-narrow"), (3, 32, 32))
    >>> sw.plan(graph, {"+layers.3": 1}).write("plan.toml")
    >>> sw.Plan.read("plan.toml").insert["layers.3"].stride
    (1, 1)
    """

    sites: Mapping[str, Setting] = field(default_factory=dict)
    insert: Mapping[str, Setting] = field(default_factory=dict)
    model: str = ""
    fingerprint: str = field(default="", compare=False)
    input: Input = ()
    keep_weights: bool = False
    means: str = "dense"
    output_stride: tuple[int, ...] = ()

    def __str__(self) -> str:
        rows = [f"{key}: {once(s.was)} -> {once(s.stride)}{_kind(s)}" for key, s in self._settings()]
        return "\n".join(rows) or "the plan changes nothing"

    def _settings(self) -> list[tuple[str, Setting]]:
        return [*self.sites.items(), *((f"+{key}", setting) for key, setting in self.insert.items())]

    def document(self) -> Document:
        """What changes, each with what it was."""
        rows = tuple((key, once(s.was), once(s.stride), how_of(s)) for key, s in self._settings())
        table = Table(title="", head=("site or +slot", "was", "stride", "how"), rows=rows, left=frozenset({3}))
        kept = f"Weights are kept, means {self.means}." if self.keep_weights else ""
        name = f"Plan for {self.model}" if self.model else "Plan"
        lead = (str(self),) if not rows else (kept,) if kept else ()
        return Document(title=name, lead=lead, parts=(table,) if rows else ())

    def _records(self) -> list[dict[str, Any]]:
        return [{"key": key, "was": s.was, "stride": s.stride, "how": asked_of(s)} for key, s in self._settings()]

    def __bool__(self) -> bool:
        return bool(self.sites or self.insert)

    def forced(self) -> Plan:
        """The same plan for whatever network has the sites it names, as they were."""
        return replace(self, fingerprint="")

    def to_toml(self) -> str:
        """The plan as TOML text."""
        import tomli_w

        text = tomli_w.dumps(self._table())
        return re.sub(r"\[\n(?:    \d+,\n)+\]", lambda rows: f"[{', '.join(re.findall(r'[0-9]+', rows[0]))}]", text)

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.plan/1": the keys of the TOML file."""
        return {"schema": "stridewise.plan/1", **self._table()}

    def _table(self) -> dict[str, Any]:
        text: dict[str, Any] = {"format": FORMAT}
        if self.model:
            text["model"] = self.model
        if self.fingerprint:
            text["fingerprint"] = self.fingerprint
        if self.input:
            named = self.input.items() if isinstance(self.input, Mapping) else ()
            text["input"] = {key: _entry(shape) for key, shape in named} or _entry(self.input)
        if self.keep_weights:
            text["keep_weights"] = True
            text["means"] = self.means
        if self.sites:
            text["sites"] = {key: _written(s) for key, s in self.sites.items()}
        if self.insert:
            text["insert"] = {key: _written(s) for key, s in self.insert.items()}
        if self.output_stride:
            text["expect"] = {"output_stride": list(self.output_stride)}
        return text

    def write(self, path: str | Path) -> None:
        """Write the plan to a file, whole or not at all. Raises PlanError where it cannot be written."""
        write_text(path, self.to_toml(), error=PlanError)

    @staticmethod
    def read(path: str | Path) -> Plan:
        """The plan in a file. Raises PlanError naming the key that is unknown or wrong."""
        try:
            text = read_bytes(path).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlanError(f"{path}: not a readable plan: {getattr(error, 'strerror', None) or error}") from error
        return Plan.from_toml(text, str(path))

    @staticmethod
    def from_toml(text: str, name: str = "plan") -> Plan:
        """The plan in TOML text. Raises PlanError."""
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PlanError(f"{name}: not TOML: {error}") from error
        known = {"format", "model", "fingerprint", "input", "keep_weights", "means", "sites", "insert", "expect"}
        _refuse_unknown(name, found, known)
        if found.get("format") != FORMAT:
            raise PlanError(f"{name}: format {found.get('format')!r} is not {FORMAT}, the one this version reads")
        if found.get("means", "dense") not in ("dense", "grid"):
            raise PlanError(f"{name}: means is 'dense' or 'grid', not {found['means']!r}")
        if not isinstance(found.get("keep_weights", False), bool):
            raise PlanError(f"{name}: keep_weights is true or false, not {found['keep_weights']!r}")
        fingerprint = found.get("fingerprint", "")
        if not isinstance(fingerprint, str) or (
            fingerprint and not re.fullmatch(r"\d+ sites?, [0-9a-f]{12}", fingerprint)
        ):
            raise PlanError(f"{name}: fingerprint is text such as '21 sites, a191423797c7', not {fingerprint!r}")
        expect = _table(name, "expect", found.get("expect", {}))
        _refuse_unknown(f"{name}: expect", expect, {"output_stride"})
        return Plan(
            sites=_settings(name, "sites", _table(name, "sites", found.get("sites", {}))),
            insert=_settings(name, "insert", _table(name, "insert", found.get("insert", {}))),
            model=str(found.get("model", "")),
            fingerprint=fingerprint,
            input=_input(name, found.get("input", [])),
            keep_weights=found.get("keep_weights", False),
            means=found.get("means", "dense"),
            output_stride=_numbers(name, "expect.output_stride", expect.get("output_stride", [])),
        )


def check_stride(where: str, stride: Any) -> tuple[int, ...]:
    """A stride as one whole number from 1 an axis. Raises PlanError."""
    entries = stride if isinstance(stride, list | tuple) else [stride]
    if not entries or any(not isinstance(s, int) or isinstance(s, bool) or s < 1 for s in entries):
        given = by(entries) if entries and all(isinstance(s, int) for s in entries) else repr(stride)
        raise PlanError(f"{where}: a stride is a whole number from 1 (or one an axis, as 1x2), not {given}")
    return tuple(entries)


def _refuse_unknown(name: str, found: Mapping[str, Any], known: set[str]) -> None:
    for key in found:
        if key not in known:
            raise PlanError(f"{name}: unknown key '{key}'; known are {', '.join(sorted(known))}")


def _table(name: str, key: str, found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise PlanError(f"{name}: {key}: a table is wanted, not {found!r}")
    return found


def _numbers(name: str, key: str, found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in found):
        raise PlanError(f"{name}: {key} is a list of whole numbers from 1, not {found!r}")
    return tuple(found)


def _entry(shape: Sequence[int] | str) -> list[int] | str:
    return shape if isinstance(shape, str) else list(shape)


def _input(name: str, found: Any) -> Input:
    """Sizes, or what sizes do not say as text; by name where there are several."""
    if isinstance(found, Mapping):
        return {key: s if _is_text(s) else _numbers(name, f"input.{key}", s) for key, s in found.items()}
    return found if _is_text(found) else _numbers(name, "input", found)


def _is_text(entry: Any) -> bool:
    """Whether an entry says sizes with a dtype or layout, or a value that is no tensor."""
    return isinstance(entry, str) and bool(re.fullmatch(r"=.*|(\d+(x\d+)*)?(:\w+|@\w+|:\w+@\w+)", entry, re.S))


def _settings(name: str, table: str, rows: Mapping[str, Any]) -> dict[str, Setting]:
    out = {}
    for key, row in rows.items():
        where = f'{name}: {table}."{key}"'
        if not isinstance(row, Mapping):
            raise PlanError(f"{where}: a table is wanted")
        _refuse_unknown(where, row, {"stride", "was", "downsample", "filter", "border"})
        kind = row.get("downsample", "max" if table == "insert" else "stride")
        if kind not in KINDS:
            raise PlanError(f"{where}: downsample '{kind}' is none of {', '.join(KINDS)}")
        if row.get("border", "reflect") not in BORDERS:
            raise PlanError(f"{where}: border '{row['border']}' is none of {', '.join(BORDERS)}")
        taps = row.get("filter")
        if taps is not None and (not isinstance(taps, int) or not 2 <= taps <= 7):
            raise PlanError(f"{where}: filter is a whole number from 2 to 7, not {taps!r}")
        stride = check_stride(where, row["stride"]) if "stride" in row else ()
        was = check_stride(where, row["was"]) if "was" in row else (1,) * len(stride) if table == "insert" else stride
        if not stride and kind == "stride":
            raise PlanError(f"{where}: says neither a stride nor a downsample kind")
        out[key] = Setting(stride=stride, was=was, downsample=kind, filter=taps, border=row.get("border", "reflect"))
    return out


def _written(setting: Setting) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if setting.stride:
        row["stride"] = list(setting.stride)
        row["was"] = list(setting.was)
    if setting.downsample != "stride":
        row["downsample"] = setting.downsample
    if setting.filter is not None:
        row["filter"] = setting.filter
    if setting.border != "reflect":
        row["border"] = setting.border
    return row


def parts_of(setting: Setting) -> tuple[str, int | None, str]:
    """How a step is made: its kind, and only what that kind has besides: the taps of a blur (3 where none are named),
    the border of a blur or polyphase; None and "" where it has none."""
    kind = setting.downsample
    taps = (setting.filter or 3) if kind == "blur" else None
    return kind, taps, setting.border if kind in ("blur", "polyphase") else ""


def how_of(setting: Setting) -> str:
    """The kind of step in words, "" for the op's own: "blur 3, border circular"."""
    kind, taps, border = parts_of(setting)
    if kind == "stride":
        return ""
    return kind + (f" {taps}" if taps else "") + (f", border {border}" if border else "")


def asked_of(setting: Setting) -> str:
    """The kind of step as it is asked for: "blur:5:zero", "polyphase", "stride"."""
    kind, taps, border = parts_of(setting)
    return ":".join([kind, *([str(taps)] if taps else []), *([border] if border not in ("", "reflect") else [])])


def _kind(setting: Setting) -> str:
    return f" ({how_of(setting)})" if setting.downsample != "stride" else ""
