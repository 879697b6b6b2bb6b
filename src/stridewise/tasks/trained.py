"""A trained network in one file: written, built again, and asked about pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from stridewise.data.cleaning import picture_files, source_of
from stridewise.data.drawing import with_boxes, with_class, with_mask
from stridewise.data.grids import Grid
from stridewise.data.picture import WHITE, Bytes, Picture, PictureError, Size
from stridewise.data.records import Sample, loaded, with_white
from stridewise.errors import DataError, LoadError, MissingExtraError
from stridewise.files import whole
from stridewise.plans import Plan
from stridewise.switching.elastic import Elastic
from stridewise.tasks.elastic import elastic_network, plans_of
from stridewise.tasks.pictures import Splits, Standard
from stridewise.tasks.segment import labels_at
from stridewise.tasks.task import Source, Task, name_of
from stridewise.tasks.training import task_of

_KEY = "stridewise"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Described:
    """What a network is built for: the data's name, its classes, channels and sizes of a picture, and the 16-bit number
    that became 255."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    white: int = WHITE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained network, ready to be used: the module in eval mode on the CPU, and how pictures are given to it.

    elastic: what switches the module from plan to plan, the dearest first; None of a network under one plan.
    """

    model: nn.Module
    task: Task
    source: str
    plan: Plan
    data: Described
    standard: Standard
    elastic: Elastic | None = None


def save_trained(path: Path, model: nn.Module, task: Task, source: Source, plan: Plan, splits: Splits) -> None:
    """Write the file whole or not at all. Raises: StridewiseError where it cannot be written."""
    from safetensors.torch import save_file

    told: dict[str, Any] = {
        "format": _FORMAT,
        "task": task.name,
        "options": dict(task.options),
        "model": name_of(source),
        "plan": plan.to_toml(),
        **({"plans": {n: p.to_toml() for n, p in model.plans.items()}} if isinstance(model, Elastic) else {}),
        "data": splits.name,
        "classes": list(splits.classes),
        "shape": list(splits.shape),
        "white_of_16_bits": splits.white,
        "mean": list(splits.train.standard.mean),
        "deviation": list(splits.train.standard.deviation),
        "white": splits.train.standard.white,
    }
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    with whole(path, "the network") as temporary:
        save_file(weights, temporary, metadata={_KEY: json.dumps(told)})


def load_trained(path: str | Path, source: Source | None = None) -> Trained:
    """The trained network in a file, or in a run folder. source: its network, where that was made by a function.

    Raises: LoadError where the file is not one of these, or does not fit its network any more.

    >>> import numpy as np
    >>> np.savez("tiny.npz", x=np.zeros((24, 8, 8), np.uint8), y=np.arange(24) % 2)
    >>> _ = sw.train("classify", "builtin:resnet20-narrow", data="tiny.npz", epochs=1, batch=8, run="run")
    >>> trained = sw.load_trained("run")
    >>> trained.task.name, trained.data.classes, trained.data.shape
    ('classify', ('0', '1'), (3, 8, 8))
    """
    path = Path(path)
    path = path / "model.safetensors" if path.is_dir() else path
    told, weights = _read(path)
    if source is not None and name_of(source) != told["model"]:
        raise LoadError(f"{path}: is of network {told['model']}, not of {name_of(source)}")
    try:
        task = task_of(told["task"], **told["options"])
        plan, plans = Plan.from_toml(told["plan"]), plans_of(told.get("plans", {}))
        data = Described(
            name=told["data"],
            classes=tuple(told["classes"]),
            shape=tuple(told["shape"]),
            white=int(told.get("white_of_16_bits", WHITE)),
        )
        standard = Standard(
            mean=tuple(told["mean"]), deviation=tuple(told["deviation"]), white=told.get("white", 255.0)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{path}: its description is broken ({type(error).__name__}: {error})") from error
    elastic = elastic_network(task, source or told["model"], plans, data) if plans else None
    model = elastic or task.network(source or told["model"], plan, data)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:160]
        raise LoadError(f"{path}: does not fit {told['model']} under its plan: {line}") from error
    model.eval()
    return Trained(
        model=model if elastic is None else elastic.model,
        task=task,
        source=told["model"],
        plan=plan if elastic is None else elastic.plans[elastic.active],
        data=data,
        standard=standard,
        elastic=elastic,
    )


def check_same(path: str | Path, found: Trained, task: str, source: str, plan: Plan | None) -> None:
    """Raises: LoadError where a trained network is not the one that was named."""
    if found.task.name != task:
        raise LoadError(f"{path}: was trained to {found.task.name}, not to {task}")
    if found.source != source:
        raise LoadError(f"{path}: is of network {found.source}, not of {source}")
    if plan is not None and plan.to_toml() != found.plan.to_toml():
        raise LoadError(f"{path}: was trained under another plan: leave --plan out to use its own")


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, torch.Tensor]]:
    if not path.is_file():
        raise LoadError(f"{path}: no such file: give the model.safetensors of a run folder, or the folder")
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "torch", "reading a trained network") from error
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {}).get(_KEY, "null"))
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, ValueError, OSError) as error:
        raise LoadError(f"{path}: not a safetensors file ({str(error).splitlines()[0]})") from error
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise LoadError(f"{path}: was not written by `stridewise train`: it says nothing of its task; use --weights")
    return told, weights


LEAST_SCORE = 0.3
_TOP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What was said of one picture: plain values, one line of text, and the image as PNG.

    Of signals and volumes the image is an array (NumPy's .npy): the class of every position, or the scores.
    """

    name: str
    values: dict[str, Any]
    line: str
    image: bytes
    suffix: str = ".png"


def find_pictures(paths: Sequence[str | Path]) -> list[Picture | Grid]:
    """The picture files named, and those in the folders named. Raises: DataError where there are none."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += picture_files(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{', '.join(map(str, paths))}: no pictures there: name picture files, or a folder of them")
    return [source_of(file, str(file)) for file in files]


def predict(
    trained: Trained, pictures: Sequence[Picture | Grid], *, least_score: float = LEAST_SCORE
) -> Iterator[Said]:
    """What the network says of each picture, at the picture's own size. Raises: PictureError for a broken one."""
    channels, *size = trained.data.shape
    for picture in pictures:
        header = picture.header()
        if len(header.size) != len(size):
            raise PictureError(picture.name, f"{len(header.size)} axes where the network reads {len(size)}")
        sample = with_white(Sample(picture=picture, size=header.size), trained.data.white)
        seen = loaded(sample, tuple(size), channels)
        x = trained.standard(torch.from_numpy(np.array(seen)).movedim(-1, 0)[None])
        if isinstance(picture, Grid):
            yield _of_grid(trained, x, picture.name, header.size)
            continue
        pixels = loaded(sample, None, 3)
        values, line, image = _SAYS[trained.task.name](trained, x, pixels, least_score)
        out = io.BytesIO()
        image.save(out, format="PNG")
        yield Said(name=picture.name, values=values, line=f"{picture.name}: {line}", image=out.getvalue())


def _of_grid(trained: Trained, x: torch.Tensor, name: str, size: Size) -> Said:
    """A signal or a volume: the class of each position at its own size, or the share of each class."""
    with torch.inference_mode():
        out = trained.model(x)[0]
    classes, file = trained.data.classes, io.BytesIO()
    if trained.task.name == "segment":
        labels = labels_at(out, size)
        np.save(file, labels)
        share = np.bincount(labels.reshape(-1), minlength=len(classes)) / labels.size
        values = {"shares": {n: float(v) for n, v in zip(classes, share, strict=True) if v > 0}}
        line = ", ".join(f"{n} {v:.1%}" for n, v in values["shares"].items())
        return Said(name=name, values=values, line=f"{name}: {line}", image=file.getvalue(), suffix=".npy")
    shares = out[: len(classes)].softmax(0)
    np.save(file, shares.numpy())
    best = int(shares.argmax())
    scores = dict(zip(classes, shares.tolist(), strict=True))
    line = f"{name}: {classes[best]} {scores[classes[best]]:.1%}"
    return Said(name=name, values={"class": classes[best], "scores": scores}, line=line, image=file.getvalue(),
                suffix=".npy")  # fmt: skip


Answer = tuple[dict[str, Any], str, Image.Image]


def _classes(trained: Trained, x: torch.Tensor, pixels: Bytes, least_score: float) -> Answer:
    with torch.inference_mode():
        shares = trained.model(x)[0].softmax(0)
    top = shares.topk(min(_TOP, len(trained.data.classes)))
    rows = [(trained.data.classes[i], v) for v, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)]
    lines = [f"{name}  {share:.1%}" for name, share in rows]
    values = {"class": rows[0][0], "scores": dict(rows)}
    return values, ", ".join(lines), with_class(pixels, lines)


def _mask(trained: Trained, x: torch.Tensor, pixels: Bytes, least_score: float) -> Answer:
    with torch.inference_mode():
        labels = labels_at(trained.model(x)[0], (pixels.shape[0], pixels.shape[1]))
    names = trained.data.classes
    share = np.bincount(labels.reshape(-1), minlength=len(names)) / labels.size
    shares = {names[i]: float(share[i]) for i in np.argsort(-share) if share[i] > 0}
    line = ", ".join(f"{name} {value:.1%}" for name, value in list(shares.items())[:4])
    return {"shares": shares}, line, with_mask(pixels, labels, names)


def _boxes(trained: Trained, x: torch.Tensor, pixels: Bytes, least_score: float) -> Answer:
    detector: Any = trained.model
    found = detector.predict(x)[0]
    sure = found["scores"] >= least_score
    scale = torch.tensor([pixels.shape[1] / x.shape[-1], pixels.shape[0] / x.shape[-2]] * 2)
    boxes = (found["boxes"][sure] * scale).tolist()
    labels, scores = found["labels"][sure].tolist(), found["scores"][sure].tolist()
    names = trained.data.classes
    rows = [
        {"class": names[label], "score": score, "box": box}
        for box, label, score in zip(boxes, labels, scores, strict=True)
    ]
    line = ", ".join(f"{names[k]} {v:.2f}" for k, v in list(zip(labels, scores, strict=True))[:6]) or "nothing"
    return {"boxes": rows}, f"{len(rows)} found: {line}", with_boxes(pixels, boxes, labels, scores, names)


_SAYS = {"classify": _classes, "segment": _mask, "detect": _boxes}
