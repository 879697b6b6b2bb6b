"""A study as a value: what is asked (`Study`), its limits, its moves and its budget. Frozen, plain, JSON both ways.

The command line's options are made from the fields here, so that a name, its help and its check are said once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias

from stridewise.data import Dataset
from stridewise.errors import StridewiseError, UsageError
from stridewise.ir import Graph
from stridewise.plans import Plan
from stridewise.tasks.recipe import Recipe, told_apart

SCHEMA = "stridewise.study/1"
Kind: TypeAlias = Literal[
    "amount",
    "bytes",
    "latency",
    "stride",
    "steps",
    "words",
    "count",
    "share",
    "flag",
    "choice",
    "text",
    "shape",
    "size",
]
"""What an option's text is read as: see cli/options.py."""

AIMS = ("curve", "best", "cheapest")
COSTS = ("macs", "latency", "memory")
MOVES = ("strides", "scale", "width", "block")
PROPOSALS = ("learned",)
TASKS = ("classify", "segment", "detect")


def _as(flags: str, kind: Kind, text: str, **more: Any) -> dict[str, Any]:
    """What makes a field an option of the command. more: choices, least, metavar."""
    return {"flags": flags.split(), "kind": kind, "text": text, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a recommended plan may cost and has to keep. Amounts are "0.8x" of the network as it is, or whole numbers;
    where none is given a plan may have 1x the multiply-adds.

    >>> sw.Limits(max_macs="0.8x", output_stride=4).of_cost
    True
    """

    max_macs: str | int | None = field(
        default=None, metadata=_as("--max-macs", "amount", "0.8x of the network as it is, 300M, or a number.")
    )
    max_activations: str | int | None = field(
        default=None, metadata=_as("--max-activations", "amount", "0.8x, 12M or a number of elements.")
    )
    max_peak_bytes: str | int | None = field(
        default=None, metadata=_as("--max-memory", "bytes", "Peak of activations: 0.8x, 64M (MiB) or bytes.")
    )
    max_latency: str | None = field(
        default=None, metadata=_as("--max-latency", "latency", "Measured here for one picture on one thread.")
    )
    output_stride: int | tuple[int, ...] | None = field(
        default=None, metadata=_as("--output-stride", "stride", "Only plans with this output stride.")
    )
    pyramid: tuple[int, ...] = field(
        default=(), metadata=_as("--pyramid", "steps", "Only plans with maps at these strides.")
    )
    min_field: int = field(
        default=0, metadata=_as("--min-field", "count", "Input positions that the last map must see.", least=0)
    )
    smallest_map: int = field(
        default=1, metadata=_as("--smallest-map", "count", "Positions that every map keeps on each axis.", least=1)
    )
    target: str | None = field(
        default=None,
        metadata=_as(
            "--target", "text", "A chip whose limits every plan keeps, as ethos-u55, or a file.", metavar="NAME|FILE"
        ),
    )

    @property
    def of_cost(self) -> bool:
        """Whether any limit of a cost is given."""
        costs = (self.max_macs, self.max_activations, self.max_peak_bytes, self.max_latency)
        return any(limit is not None for limit in costs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What may change. kinds: where the network steps, how large its pictures are, how wide, deep or fine it is, and a
    step moved from a 1x1 that reads a quarter to the 3x3 beside it; slots, sites: where steps may stand, as for
    `front`. propose: "learned", a plan that gradient descent finds (docs/learned.md). plans: these instead of a choice
    from the front.

    >>> sw.Moves(kinds=("strides",)).kinds
    ('strides',)
    """

    kinds: tuple[str, ...] = field(
        default=MOVES,
        metadata=_as(
            "--moves", "words", "What may change: strides, scale (of the pictures), width, block.", choices=MOVES
        ),
    )
    slots: bool | None = field(
        default=None,
        metadata=_as("--slots/--no-slots", "flag", "Also step between modules. [default: where it steps there today]"),
    )
    propose: tuple[str, ...] = field(
        default=(),
        metadata=_as(
            "--propose", "words", "One plan more: learned, by gradient descent in a training.", choices=PROPOSALS
        ),
    )
    sites: tuple[str, ...] | None = None
    plans: tuple[Plan, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be spent. trials: plans to choose from; epochs: of a full training; cost: full trainings that the
    selection may take; each of the finalists gets two fresh seeds, and as many more trainings as make `seeds` each are
    raced: they go where the answer hangs, and are left where it is settled.

    >>> sw.Budget(trials=6, epochs=3).cost
    5.0
    """

    trials: int = field(default=12, metadata=_as("--trials", "count", "Plans in the shortlist.", least=2))
    epochs: int = field(default=9, metadata=_as("--budget --epochs", "count", "Epochs of a full training.", least=1))
    cost: float = field(default=5.0, metadata=_as("--cost", "share", "Full trainings the selection may cost.", least=1))
    finalists: int = field(
        default=3, metadata=_as("--finalists", "count", "Plans that are trained with several seeds.", least=1)
    )
    seeds: int = field(
        default=5, metadata=_as("--seeds", "count", "Full trainings a finalist, at most, on average.", least=1)
    )
    timeout: float = field(
        default=0.0,
        metadata=_as("--timeout", "share", "Seconds after which a training counts as failed; 0: never.", least=0),
    )

    def __post_init__(self) -> None:
        if min(self.epochs, self.seeds, self.finalists) < 1 or not 1 <= self.cost <= 1e6:
            raise UsageError(
                "a study wants budget, seeds, finalists and cost from 1, the cost up to 1000000, not "
                f"{self.epochs}, {self.seeds}, {self.finalists}, {self.cost:g}"
            )
        if not 0 <= self.timeout < math.inf:
            raise UsageError(f"study: timeout is {self.timeout:g}: seconds are wanted, 0 for as long as it takes")


_LONGER = {
    "budget.trials",
    "budget.cost",
    "budget.finalists",
    "budget.seeds",
    "budget.timeout",
    "aim",
    "within",
    "unit",
}
"""What a study may change and keep its trainings: more of it, or another question about the same."""
_LIVE = ("model", "data", "score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One question. model: a name as for `load`, a function that makes a module, or with `score` a graph; score: a
    person's own training, `score(plan, budget, seed) -> float`, larger is better, or its name; recipe: batch, rate and
    so on, and the task's options, as for `train`; aim: "curve", what each cost buys; "best", the highest score within
    the limits; "cheapest", the least cost that surely loses less than `within`, in points or the score's own unit.

    >>> study = sw.Study.of("builtin:resnet20-narrow", data="builtin:digits", max_macs="0.8x", trials=4)
    >>> study.limits.max_macs, study.budget.trials
    ('0.8x', 4)
    >>> sw.Study.from_json(study.to_json()) == study
    True
    """

    model: Any = None
    task: str = field(default="classify", metadata=_as("--task", "choice", "What the network is for.", choices=TASKS))
    data: Any = field(default=None, metadata=_as("--data", "text", "A folder, an .npz, builtin:digits ..."))
    score: Any = field(
        default=None,
        metadata=_as(
            "--score", "text", "Your own training: score(plan, budget, seed) -> float.", metavar="FILE.py:FUNCTION"
        ),
    )
    input: tuple[int, ...] | None = field(
        default=None, metadata=_as("--input", "shape", "The network's input, with --score.")
    )
    size: tuple[int, int] | None = field(
        default=None, metadata=_as("--size", "size", "Bring every picture to this size first.")
    )
    aim: str = field(default="curve", metadata=_as("--aim", "choice", "What is asked for.", choices=AIMS))
    within: float = field(
        default=1.0,
        metadata=_as("--within", "share", "What `cheapest` may lose: points, or the score's unit.", least=0),
    )
    per: str = field(
        default="macs", metadata=_as("--per", "choice", "The cost that the answer speaks of.", choices=COSTS)
    )
    unit: str = field(
        default="", metadata=_as("--unit", "text", "The unit of your own score, as dB. [default: points of a share]")
    )
    weights: str | None = field(
        default=None,
        metadata=_as(
            "--weights", "text", "Begin with these (safetensors), kept by dilation where a plan can.", metavar="FILE"
        ),
    )
    trust: bool = field(default=False, metadata=_as("--trust", "flag", "Read weights that can run code."))
    rivals: tuple[str, ...] | None = field(
        default=None,
        metadata=_as(
            "--rival", "words", "Train this one beside the finalists; none: no other network.", metavar="MODEL|none"
        ),
    )
    limits: Limits = field(default_factory=Limits)
    moves: Moves = field(default_factory=Moves)
    budget: Budget = field(default_factory=Budget)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("aim", self.aim, AIMS),
            ("per", self.per, COSTS),
            ("task", self.task, TASKS),
            *(("moves", kind, MOVES) for kind in self.moves.kinds),
            *(("propose", kind, PROPOSALS) for kind in self.moves.propose),
        ):
            if value not in choices:
                others = f"{', '.join(choices[:-1])} or " if choices[1:] else ""
                raise UsageError(f"study: no {name} '{value}': choose {others}{choices[-1]}")
        if not self.moves.kinds:
            raise UsageError(f"study: nothing may move: choose of {', '.join(MOVES)}")
        if not 0 <= self.within < math.inf:
            raise UsageError(f"study: within is {self.within}: what may be lost is a number from 0")
        if self.within != 1.0 and self.aim != "cheapest":
            raise UsageError(f"study: --within belongs to --aim cheapest, not to {self.aim}: leave one of them out")
        if self.unit and self.score is None:
            raise UsageError(f"study: --unit names the unit of your own --score: the score of {self.task} has its own")
        unused = [name for name in ("weights", "size") if getattr(self, name) is not None]
        if self.score is not None and (self.recipe or unused):
            names = ", ".join([*self.recipe, *unused])
            raise UsageError(f"search: leave {names} out: with score= your own code does the training")
        if self.score is None and self.model is not None:
            told_apart(self.recipe)

    @staticmethod
    def of(model: Any, **given: Any) -> Study:
        """A study from its fields by name, those of its parts among them; the rest is the recipe.

        Raises: UsageError naming what is no field.
        """
        given = {_OLD.get(name, name): value for name, value in given.items()}
        parts = {name: given.pop(name) for name in ("limits", "moves", "budget") if isinstance(given.get(name), _PARTS)}
        for name, one in (("budget", "epochs"), ("moves", "kinds")):
            if name in given:
                given[one] = given.pop(name)
        if isinstance(given.get("kinds"), str):
            given["kinds"] = given["kinds"].split(",")
        if given.get("kinds"):
            given["kinds"] = tuple(dict.fromkeys(given["kinds"]))
        made: dict[str, Any] = {}
        for name, part in (("limits", Limits), ("moves", Moves), ("budget", Budget)):
            own = {f.name: _plain(given.pop(f.name)) for f in fields(part) if f.name in given}
            made[name] = replace(parts[name], **own) if name in parts else part(**own)
        top: dict[str, Any] = {
            f.name: _plain(given.pop(f.name)) for f in fields(Study) if f.name in given and f.name != "recipe"
        }
        recipe = {name: _plain(value) for name, value in {**given.pop("recipe", {}), **given}.items()}
        _check_near(recipe)
        top["weights"] = None if top.get("weights") is None else str(top["weights"])
        return Study(model=model, recipe=recipe, **top, **made)

    def to_json(self) -> dict[str, Any]:
        """Plain values, schema "stridewise.study/1". What lives in a program is written by its name."""
        plain: dict[str, Any] = json.loads(json.dumps(_written(self)))
        return {"schema": SCHEMA, **plain}

    @staticmethod
    def from_json(found: Mapping[str, Any]) -> Study:
        """Read again what `to_json` wrote. Raises: UsageError naming an unknown field or a value that cannot be."""
        if found.get("schema") != SCHEMA:
            raise UsageError(f"study: schema {found.get('schema')!r}, not {SCHEMA!r}: this is no study's file")
        made = {key: value for key, value in found.items() if key != "schema"}
        for name, part in (("limits", Limits), ("moves", Moves), ("budget", Budget)):
            made[name] = _read_part(part, made.get(name, {}), f"{name}.")
        study: Study = _read_part(Study, made, "")
        return study

    @staticmethod
    def read(path: str | Path) -> Study:
        """The study in a JSON file. Raises: UsageError, one line with the file."""
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read as a study ({error})") from error
        try:
            return Study.from_json(found if isinstance(found, dict) else {})
        except StridewiseError as error:
            raise UsageError(f"{path}: {error}") from error

    @property
    def live(self) -> tuple[str, ...]:
        """The fields that live in a program, so that a file cannot bring them back."""
        return tuple(name for name in _LIVE if not isinstance(getattr(self, name), str | Path | None))


_PARTS = (Limits, Moves, Budget)
_OLD = {"max_memory": "max_peak_bytes"}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(field, value before, value now) of two studies' plain values, in the order of the fields."""
    out: list[tuple[str, Any, Any]] = []
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            out += [(f"{name}.{key}", a, b) for key, a, b in differences(old, new)]
        elif old != new:
            out.append((name, old, new))
    return out


def hinders(changes: Sequence[tuple[str, Any, Any]]) -> tuple[str, Any, Any] | None:
    """The first change that makes it another study: anything but more of what is spent, or another aim."""
    return next((change for change in changes if change[0] not in _LONGER or _less(*change)), None)


def _less(name: str, before: Any, now: Any) -> bool:
    return name in ("budget.trials", "budget.cost", "budget.finalists", "budget.seeds") and now < before


def option_fields() -> list[Field[Any]]:
    """Every field that is an option, those of the study first."""
    return [f for part in (Study, Limits, Moves, Budget) for f in fields(part) if f.metadata]


def default_of(one: Field[Any]) -> Any:
    """What a field is where nothing is said."""
    if one.default is not MISSING:
        return one.default
    assert one.default_factory is not MISSING
    return one.default_factory()


def _written(study: Study) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for f in fields(Study):
        value = getattr(study, f.name)
        if isinstance(value, _PARTS):
            out[f.name] = {g.name: getattr(value, g.name) for g in fields(value)}
        elif f.name in _LIVE:
            out[f.name] = None if value is None else name_of(value)
        else:
            out[f.name] = dict(value) if f.name == "recipe" else value
    plans = study.moves.plans
    out["moves"]["plans"] = None if plans is None else [plan.to_toml() for plan in plans]
    return out


def _read_part(part: Callable[..., Any], found: Any, where: str) -> Any:
    names = {f.name: f for f in fields(part)}  # type: ignore[arg-type]
    if not isinstance(found, Mapping):
        raise UsageError(f"study: {where.rstrip('.')} is {found!r}: a table of fields is wanted")
    for name in found:
        if name not in names:
            raise UsageError(f"study: no field '{where}{name}'{_near(name, names)}")
    values = {name: _plain(value) for name, value in found.items()}
    if isinstance(values.get("recipe"), Mapping):
        values["recipe"] = {name: _plain(value) for name, value in values["recipe"].items()}
    if values.get("plans") is not None:
        values["plans"] = tuple(Plan.from_toml(text) for text in values["plans"])
    for name, value in values.items():
        kind = names[name].metadata.get("kind")
        if kind in ("count", "share") and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UsageError(f"study: {where}{name} is {value!r}: a number is wanted")
    return part(**values)


def _plain(value: Any) -> Any:
    """Lists as tuples: a value can be compared and kept."""
    return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value


_TASK_OPTIONS = {"head", "levels", "width", "sizes"}  # of segment and detect, which check them themselves


def _check_near(recipe: Mapping[str, Any]) -> None:
    """Raises: UsageError where a setting of the training is nearly a field's name."""
    known = {f.name for part in (Study, *_PARTS) for f in fields(part)}
    own = {f.name for f in fields(Recipe)} | _TASK_OPTIONS
    for name in recipe:
        close = get_close_matches(name, known - own, 1, 0.8)
        if name not in own and close:
            raise UsageError(f"search: no setting '{name}': did you mean {close[0]}?")


def _near(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), 1)
    return f": did you mean {close[0]}?" if close else f": its fields are {', '.join(sorted(known))}"


def name_of(thing: Any) -> str:
    """A data set, a file, a graph or a score in a word, to tell studies apart by; in <> what no name brings back."""
    if isinstance(thing, str | Path):
        return str(thing)
    if isinstance(thing, Dataset) and thing.name.startswith("builtin:"):
        return thing.name
    if isinstance(thing, Dataset | Graph):
        return f"<{thing.name if isinstance(thing, Dataset) else thing.model}>"
    return f"<{getattr(thing, '__qualname__', type(thing).__name__)}>"
