"""One door to every data set: a `builtin:` name, a folder or a file; the format is found or told."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stridewise.data import arrays, builtin, cifar, coco, folders, masks, metadata, mnist, voc, yolo
from stridewise.data.records import Dataset, Progress, Task
from stridewise.errors import DataError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A way data sets lie on disk: how to tell it, how to read it, which tasks it serves, the usual one first.

    masks: reads it for segmentation where `read` gives boxes. file: it can be one file.
    """

    name: str
    tasks: tuple[Task, ...]
    looks_like: Callable[[Path], bool]
    read: Callable[[Path, Progress | None], Dataset]
    file: bool = False
    masks: Callable[[Path, Progress | None], Dataset] | None = None


# In the order they are tried: what is told apart surely comes first, plain class folders last.
FORMATS = {
    entry.name: entry
    for entry in (
        Format(name="npz", tasks=("classify", "segment"), looks_like=arrays.looks_like, read=arrays.read, file=True),
        Format(
            name="coco",
            tasks=("detect", "segment"),
            looks_like=coco.looks_like,
            read=coco.read,
            masks=coco.read_masks,
            file=True,
        ),
        Format(name="cifar", tasks=("classify",), looks_like=cifar.looks_like, read=cifar.read),
        Format(name="mnist", tasks=("classify",), looks_like=mnist.looks_like, read=mnist.read),
        Format(name="voc", tasks=("detect",), looks_like=voc.looks_like, read=voc.read),
        Format(
            name="yolo",
            tasks=("detect", "segment"),
            looks_like=yolo.looks_like,
            read=yolo.read,
            masks=yolo.read_masks,
            file=True,
        ),
        Format(name="metadata", tasks=("classify", "detect"), looks_like=metadata.looks_like, read=metadata.read),
        Format(name="masks", tasks=("segment",), looks_like=masks.looks_like, read=masks.read),
        Format(name="folders", tasks=("classify",), looks_like=folders.looks_like, read=folders.read),
    )
}
BUILTIN: dict[str, tuple[Task, ...]] = {"digits": ("classify",), "digit-scenes": ("detect", "segment")}


def open_dataset(
    spec: str | Path,
    task: Task | None = None,
    format: str | None = None,
    *,
    mask_suffix: str | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The data set that `spec` names: `builtin:digits`, `builtin:digit-scenes`, a folder, an `.npz` or a COCO `.json`.

    mask_suffix: what a mask's file name ends in behind its picture's (`_L`), where it is none of the usual.

    Without `task`, what the data serves; without `format` (one of `FORMATS`), the first that fits. Pictures are decoded
    later, one at a time; their headers are read now. What cannot be used is left out and counted in `.report`.
    Raises: DataError when it cannot be read or does not serve the task; UsageError for an unknown name.
    """
    if str(spec).startswith("builtin:"):
        return _builtin(str(spec).removeprefix("builtin:"), task)
    root = Path(spec)
    if format is not None and format not in FORMATS:
        raise UsageError(f"no data format {format!r}: choose from {', '.join(FORMATS)}")
    try:
        if not root.exists():
            raise DataError(f"{spec}: no such file or folder: give a folder, an .npz, a COCO .json or builtin:NAME")
        format = "masks" if mask_suffix is not None else format
        chosen = FORMATS[format] if format else _detected(root, task)
        if task is not None and task not in chosen.tasks:
            raise DataError(
                f"{spec}: format {chosen.name} serves {' and '.join(chosen.tasks)}, not {task}: "
                "give another task, format or data"
            )
        if root.is_file() and not chosen.file:
            raise DataError(f"{spec}: is a file; format {chosen.name} is a folder: give the folder it lies in")
        reader = chosen.masks if task == "segment" and chosen.masks is not None else chosen.read
        if mask_suffix is not None:
            dataset = masks.read(root.resolve(), progress, mask_suffix)
        else:
            dataset = reader(root.resolve(), progress)
    except OSError as error:
        raise DataError(f"{spec}: cannot be read: {error}. Check that it exists and may be read") from error
    if task is not None and dataset.task != task:
        raise DataError(
            f"{spec}: holds what is needed to {dataset.task}, not to {task}: give another task or other data"
        )
    return dataset


def _detected(root: Path, task: Task | None) -> Format:
    fitting = [entry for entry in FORMATS.values() if (root.is_dir() or entry.file) and entry.looks_like(root)]
    serving = [entry for entry in fitting if task is None or task in entry.tasks]
    if serving:
        return min(serving, key=lambda entry: 0 if task is None else entry.tasks.index(task))
    if fitting:
        raise DataError(
            f"{root}: looks like {fitting[0].name}, which serves {' and '.join(fitting[0].tasks)}, not {task}: "
            "give another task or other data"
        )
    raise DataError(
        f"{root}: not a data set of a known layout for {task or 'any task'}: "
        f"lay it out as one, or say which it is: {'|'.join(FORMATS)}"
    )


def _builtin(name: str, task: Task | None) -> Dataset:
    if name not in BUILTIN:
        raise UsageError(f"no built-in data {name!r}: choose from {', '.join('builtin:' + known for known in BUILTIN)}")
    if task is not None and task not in BUILTIN[name]:
        raise UsageError(
            f"builtin:{name} serves {' and '.join(BUILTIN[name])}, not {task}: give another task or other data"
        )
    if name == "digits":
        return builtin.digits()
    return builtin.digit_scenes(task=task or "detect")
