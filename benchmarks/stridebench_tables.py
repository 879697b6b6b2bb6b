"""The tables that `benchmarks/stridebench.py` replays on: what a row is, what it costs, what was scored.

A place is a plan's geometry in logarithms, as `stridewise.fronts.shortlist` writes it for a live network; its last
coordinate follows the cost. Each table is read as it was published (see the README beside them).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Row = Mapping[str, str]


class TableError(ValueError):
    """One line on what a file lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How to read a table. cost, place: of a row; words: columns whose words are places too, any two equally far;
    scores: its columns of scores; group: columns that part the rows into choices of their own; seeds: columns with one
    training each of `scores`; deviation: the column with the scores' deviation over seeds; needs: columns that a place
    and a cost are read from; where: the rows to take."""

    file: str
    cost: Callable[[Row], float]
    place: Callable[[Row], list[float]]
    scores: tuple[str, ...]
    group: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    deviation: str = ""
    needs: tuple[str, ...] = ()
    where: Callable[[Row], bool] = field(default=lambda row: True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The plans of one choice. score: what is to be high; draws: (trainings, plans) scores of single trainings, or one
    row; deviation: of a training about `score`, 0 where nothing is known of it."""

    name: str
    places: np.ndarray
    costs: np.ndarray
    score: np.ndarray
    draws: np.ndarray
    deviation: np.ndarray

    def among(self, rows: np.ndarray) -> Pool:
        """Some of the plans."""
        return Pool(
            name=self.name,
            places=self.places[rows],
            costs=self.costs[rows],
            score=self.score[rows],
            draws=self.draws[:, rows],
            deviation=self.deviation[rows],
        )

    def world(self, rng: np.random.Generator) -> np.ndarray:
        """What one training of every plan gives."""
        drawn = self.draws[rng.integers(len(self.draws), size=len(self.score)), np.arange(len(self.score))]
        return drawn + self.deviation * rng.normal(size=len(self.score))

    @property
    def chance(self) -> bool:
        """Whether two trainings of a plan may differ."""
        return len(self.draws) > 1 or bool(self.deviation.any())


def _transnas(row: Row) -> list[float]:
    """log2 of positions and channels behind each of six modules; a network of fewer ends early."""
    positions, channels, at, wide = 0.0, 0.0, [], []
    for digit in row["code"].ljust(6, "1"):
        positions -= 2.0 * (digit in "34")
        channels += digit in "24"
        at.append(positions)
        wide.append(channels)
    return [*at, *wide, float(len(row["code"]))]


def _placed(row: Row) -> list[float]:
    """log2 of the positions of each of ten layers."""
    before = [int(layer) for layer in row["downsample_before_layer"].split()]
    return [-2.0 * sum(layer >= at for at in before) for layer in range(10)]


def _numbers(text: str, part: str) -> list[float]:
    return [math.log2(float(number)) for number in text.split(part)]


def _output_stride(row: Row) -> float:
    return math.log2(float(row["eval_os"].split("->")[-1]))


def _pixels(row: Row) -> float:
    height, width = row["crop"].split("x")
    return math.log2(int(height) * int(width))


def _strided(row: Row) -> list[float]:
    """log2 of the positions behind each of five blocks."""
    return [-2.0 * float(v) for v in np.cumsum(_numbers(row["strides"], ","))]


def _layers(row: Row) -> list[float]:
    return [float(part) for part in row["arch_layers_per_resolution"].split(",")]


SPECS: dict[str, Spec] = {
    "transnas101_macro": Spec(
        file="stridebench/transnas101_macro.csv",
        cost=lambda row: float(row["conv_macs_224_mine_M"]),
        place=_transnas,
        scores=("class_scene", "autoencoder", "normal", "jigsaw"),
        needs=("code", "conv_macs_224_mine_M"),
    ),
    "nasbench_mr": Spec(
        file="stridebench/nasbench_mr.csv",
        cost=lambda row: float(row["flops_G"]),
        place=lambda row: _numbers(row["code"], "_"),
        scores=("cls-50-1000", "cls-50-100", "cls-10-1000", "seg-4x", "video"),
        needs=("code", "flops_G"),
    ),
    "nasbench_macro": Spec(
        file="stridebench/nasbench_macro.csv",
        cost=lambda row: float(row["flops"]),
        place=lambda row: [float(kind == digit) for digit in row["arch"] for kind in "012"],
        scores=("mean",),
        seeds=("acc_1", "acc_2", "acc_3"),
        needs=("arch", "flops"),
    ),
    "resnet20_cifar10_pooling": Spec(
        file="resnet20_cifar10_pooling.csv",
        cost=lambda row: float(row["macs"]),
        place=_placed,
        scores=("accuracy_mean",),
        deviation="accuracy_sd",
        needs=("downsample_before_layer", "macs"),
    ),
    "deeplab_output_stride": Spec(
        file="stridebench/deeplab_output_stride.csv",
        cost=lambda row: 4.0 ** -_output_stride(row),  # positions of the last map: what is known of every row
        place=lambda row: [_output_stride(row), float(row["decoder"] == "yes")],
        words=("backbone", "train_os"),
        scores=("miou",),
        group=("dataset",),
        needs=("eval_os", "decoder", "backbone", "train_os", "dataset"),
        where=lambda row: row["ms_flip"] == "no",
    ),
    "mmseg_fcn_os8_os16": Spec(
        file="stridebench/mmseg_fcn_os8_os16.csv",
        cost=lambda row: _pixels_cost(row),
        place=lambda row: [math.log2(float(row["output_stride"])), _pixels(row)],
        words=("backbone", "iters_k"),
        scores=("miou", "miou_ms_flip"),
        needs=("output_stride", "crop", "backbone", "iters_k"),
    ),
    "detectron2_c4_dc5_fpn": Spec(
        file="stridebench/detectron2_c4_dc5_fpn.csv",
        cost=lambda row: float(row["inference_s_per_im"]),
        place=lambda row: [],
        words=("stride_of_box_features", "schedule"),
        scores=("box_AP",),
        needs=("inference_s_per_im", "stride_of_box_features", "schedule"),
    ),
    "blurpool_filter_size_imagenet": Spec(
        file="stridebench/blurpool_filter_size_imagenet.csv",
        cost=lambda row: 1.0,  # none is published; a filter's own cost is small beside the network's
        place=lambda row: [],
        words=("model", "filter"),
        scores=("top1", "shift_consistency"),
        needs=("model", "filter"),
    ),
    "blurpool_imagenet": Spec(
        file="stridebench/blurpool_imagenet.csv",
        cost=lambda row: 1.0,
        place=lambda row: [],
        words=("model",),
        scores=("top1_antialiased_filter4", "consistency_antialiased_filter4"),
        needs=("model",),
    ),
    "diffstride_readme": Spec(
        file="stridebench/diffstride_readme.csv",
        cost=lambda row: sum(2.0**p for p in _strided(row)),
        place=_strided,
        words=("pooling",),
        scores=("accuracy",),
        group=("dataset",),
        deviation="sd",
        needs=("strides", "pooling", "dataset"),
    ),
    "bms_pooling_tables": Spec(
        file="stridebench/bms_pooling_tables.csv",
        cost=lambda row: sum(n * 4.0**-at for at, n in enumerate(_layers(row))),
        place=_layers,
        scores=("accuracy",),
        group=("dataset", "backbone"),
        deviation="sd",
        needs=("arch_layers_per_resolution", "dataset", "backbone"),
        where=lambda row: bool(row["arch_layers_per_resolution"]),
    ),
    "timm_vit_patch_size": Spec(
        file="stridebench/timm_vit_patch_size.csv",
        cost=lambda row: float(row["param_count_M"].replace(",", "")) * _tokens(row),
        place=lambda row: [math.log2(_tokens(row)), math.log2(float(row["param_count_M"].replace(",", "")))],
        scores=("top1", "top5"),
        needs=("patch", "img_size", "param_count_M"),
    ),
}

FIXED_ON = frozenset(
    {
        ("transnas101_macro", "class_scene"),
        ("transnas101_macro", "autoencoder"),
        ("nasbench_mr", "cls-50-1000"),
        ("resnet20_cifar10_pooling", "accuracy_mean"),
    }
)
"""The columns that the method's constants were set on: they judge nothing."""


def _tokens(row: Row) -> float:
    return (float(row["img_size"]) / float(row["patch"])) ** 2


def _pixels_cost(row: Row) -> float:
    """Positions of the last map, times how much dearer the deeper backbone is."""
    depth = float(row["backbone"].removeprefix("R-"))
    return 2.0 ** _pixels(row) / float(row["output_stride"]) ** 2 * depth


def read(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a table. Raises: TableError."""
    path, spec = folder / SPECS[name].file, SPECS[name]
    rows = _rows(path)
    missing = [column for column in spec.needs if column not in rows[0]]
    if missing:
        raise TableError(f"{path}: has no column {', '.join(missing)}; its columns are {', '.join(rows[0])}")
    return [row for row in rows if spec.where(row)]


def joined(rows: Sequence[Mapping[str, str]], file: Path, columns: Sequence[str] = ()) -> list[str]:
    """Put columns of another file into the rows, joined by the table's first column; which columns came. None named:
    every column of the file but its first. Raises: TableError."""
    more = _rows(file)
    key = next(iter(rows[0]))
    if key not in more[0]:
        raise TableError(f"{file}: has no column {key} to join by; its columns are {', '.join(more[0])}")
    found = list(columns) or [column for column in more[0] if column != key]
    missing = [column for column in found if column not in more[0]]
    if missing:
        raise TableError(f"{file}: has no column {', '.join(missing)}; its columns are {', '.join(more[0])}")
    by_key = {row[key]: row for row in more}
    if len(by_key) < len(more):
        raise TableError(f"{file}: names a {key} twice, so its scores cannot be joined")
    for row in rows:
        row.update({column: by_key.get(row[key], {}).get(column, "") for column in found})  # type: ignore[attr-defined]
    return found


def pools(name: str, rows: Sequence[Row], column: str, *, sign: float = 1.0) -> list[Pool]:
    """The choices of a table by one column of scores; rows without a score, a cost or a place are left out.

    Raises: TableError where the column is not there, or has fewer than two numbers.
    """
    spec = SPECS[name]
    if column not in rows[0]:
        raise TableError(f"{name}: has no column {column}; its columns are {', '.join(rows[0])}")
    groups: dict[str, list[tuple[list[float], float, float, list[float], float]]] = {}
    own = column in spec.scores
    spelt = {name: sorted({row[name] for row in rows}) for name in spec.words}
    for row in rows:
        score = _number(row[column])
        try:
            place = spec.place(row) + [float(row[c] == word) for c in spec.words for word in spelt[c]]
            cost = spec.cost(row)
        except (ValueError, KeyError):
            continue
        if score is None:
            continue
        draws = [_number(row[seed]) for seed in spec.seeds] if own else []
        spread = (_number(row[spec.deviation]) or 0.0) if own and spec.deviation else 0.0
        drawn = [sign * (score if draw is None else draw) for draw in draws] or [sign * score]
        groups.setdefault(" ".join(row[part] for part in spec.group), []).append(
            (place, cost, sign * score, drawn, spread)
        )
    if sum(map(len, groups.values())) < 2:
        raise TableError(f"{name}: column {column} has fewer than two scores")
    return [_pool(group, found) for group, found in groups.items()]


def _pool(name: str, found: Sequence[tuple[list[float], float, float, list[float], float]]) -> Pool:
    costs = np.array([cost for _, cost, _, _, _ in found])
    order = np.argsort(-costs, kind="stable")
    geometry = np.array([place for place, _, _, _, _ in found], dtype=float)
    places = np.column_stack([geometry, geometry.shape[1] ** 0.5 * np.log2(costs)])
    whole = Pool(
        name=name,
        places=places,
        costs=costs,
        score=np.array([score for _, _, score, _, _ in found]),
        draws=np.array([drawn for _, _, _, drawn, _ in found]).T,
        deviation=np.array([spread for *_, spread in found]),
    )
    return whole.among(order)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise TableError(f"{path}: holds no rows")
    return rows
