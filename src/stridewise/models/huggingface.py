"""A transformers model from a folder with its config.json: offline, and no code of the folder is run.

Weights are read from safetensors beside the config and drawn at random where there are none. torch and transformers
are imported only where a model is built.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stridewise.errors import LoadError, MissingExtraError
from stridewise.files import is_file

if TYPE_CHECKING:
    from torch import nn

CONFIG = "config.json"
_BACKBONE = ":backbone"


def is_folder(name: str) -> bool:
    """Whether a bare name is a folder with a model's config."""
    return is_file(Path(name) / CONFIG)


def input_of(name: str) -> Any:
    """Channels and sizes of the input its config was made for, or shapes by argument.

    Raises: LoadError where the folder or its config cannot be read.
    """
    folder, _ = _parts(name)
    config = read_config(folder)
    if "architecture" in config:
        size = config.get("pretrained_cfg", {}).get("input_size")
        return tuple(size) if size else (3, 224, 224)
    vision: dict[str, Any] = config.get("vision_config") or {}
    facts = {**vision, **config}
    if "conv_kernel" in facts or str(facts.get("model_type")) in ("encodec", "dac", "mimi"):  # waveforms
        second = int(facts.get("sampling_rate", 16000))
        return (int(facts.get("audio_channels", 1)), second) if "audio_channels" in facts else (second,)
    if "num_mel_bins" in facts and "max_length" in facts:
        return int(facts["max_length"]), int(facts["num_mel_bins"])
    sizes = _sizes(folder, facts)
    channels = int(facts.get("num_channels", facts.get("in_channels", 3)) or 3)
    return (int(facts["num_frames"]), channels, *sizes) if "num_frames" in facts else (channels, *sizes)


def _sizes(folder: Path, facts: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of a picture: the config's, the preprocessor's, or 224."""
    size = facts.get("image_size")
    beside = folder / "preprocessor_config.json"
    if size is None and beside.is_file():
        read = _read_json(beside)
        size = read.get("crop_size") or read.get("size")
    if isinstance(size, Mapping):
        size = [size.get("height", size.get("shortest_edge")), size.get("width", size.get("shortest_edge"))]
    numbers: list[Any] = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(numbers) != 2 or not all(isinstance(n, int) and n > 0 for n in numbers):
        return 224, 224
    return int(numbers[0]), int(numbers[1])


def build(name: str, meta: bool, kwargs: dict[str, Any]) -> nn.Module:
    """The model of a folder, or its backbone alone where `:backbone` stands behind it.

    Weights are the folder's, unless `meta` or there are none. kwargs: changed entries of the config.
    Raises: LoadError, MissingExtraError.
    """
    folder, is_backbone = _parts(name)
    plain = read_config(folder)
    if "architecture" in plain:  # written by timm
        from stridewise.models import zoo

        return zoo.build("timm", str(plain["architecture"]), meta, {**plain.get("model_args", {}), **kwargs})
    hf = _transformers()
    with _quiet():
        config = _config(hf, folder, plain, kwargs)
        maker = _maker(hf, config, plain, is_backbone)
        if not meta and _has_weights(folder):
            made: nn.Module = maker.from_pretrained(
                str(folder), config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
            return made
        drawn: nn.Module = maker._from_config(config)
        return drawn


def _parts(name: str) -> tuple[Path, bool]:
    is_backbone = name.endswith(_BACKBONE)
    return Path(name.removesuffix(_BACKBONE)), is_backbone


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a folder in plain values. Raises: LoadError."""
    if not folder.is_dir():
        raise LoadError(f"{folder}: no such folder")
    file = folder / CONFIG
    if not file.is_file():
        raise LoadError(f"{folder}: holds no {CONFIG}: a folder as save_pretrained writes it is wanted")
    config = _read_json(file)
    if "_class_name" in config:
        kind = config["_class_name"]
        raise LoadError(
            f"{folder}: is a {kind} of diffusers: make it in a file of yours, and name that: file.py:function"
        )
    if not isinstance(config.get("model_type"), str) and "architecture" not in config:
        raise LoadError(f"{file}: names no model_type, so nothing says which model it is")
    return config


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise LoadError(f"{file}: one JSON object is wanted")
    return found


def _transformers() -> ModuleType:
    from stridewise.models.zoo import declare_missing_ops

    declare_missing_ops()
    try:
        return importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "transformers"):
            raise
        raise MissingExtraError(error.name, "reach", "'hf:' models") from error


def _config(hf: ModuleType, folder: Path, plain: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """The config, without a wish for weights from elsewhere. Raises: LoadError for one that only its own code reads."""
    kind = plain["model_type"]
    if kind not in hf.CONFIG_MAPPING:
        own = " but by code in its folder, which is not run" if "auto_map" in plain else ""
        raise LoadError(f"{folder}: this transformers ({hf.__version__}) does not know model_type '{kind}'{own}")
    config = hf.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    unknown = [key for key in changes if not hasattr(config, key)]
    if unknown:
        raise LoadError(f"{folder}: its config has no '{unknown[0]}'")
    for key, value in {"use_pretrained_backbone": False, **changes}.items():
        if hasattr(config, key):
            setattr(config, key, value)
    return config


def _maker(hf: ModuleType, config: Any, plain: Mapping[str, Any], is_backbone: bool) -> Any:
    """The class that makes the model: the one that the config names, else the bare model of its type.

    Raises: LoadError where there is none.
    """
    for name in () if is_backbone else plain.get("architectures") or ():
        found = getattr(hf, str(name), None)
        if isinstance(found, type) and issubclass(found, hf.PreTrainedModel):
            return found
    # The classes themselves: the automatic ones may ask the hub.
    try:
        made = (hf.AutoBackbone if is_backbone else hf.AutoModel)._model_mapping[type(config)]
    except KeyError as error:
        what, instead = ("backbone", f"leave {_BACKBONE} away") if is_backbone else ("model", "name an architecture")
        raise LoadError(f"model_type '{plain['model_type']}' has no {what} in transformers: {instead}") from error
    stages = getattr(config, "stage_names", None)
    chosen = plain.get("out_features") or plain.get("out_indices") or ()
    if is_backbone and stages and len(chosen) < 2:  # the last stage alone is what nobody chose
        config.out_features = list(stages[1:])
    return made[0] if isinstance(made, list | tuple) else made


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what transformers has to say about weights that are drawn anew."""
    theirs: Any = importlib.import_module("transformers.utils.logging")
    before, bars = logging.root.manager.disable, theirs.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    theirs.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if bars:
            theirs.enable_progress_bar()
