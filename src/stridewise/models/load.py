"""A model by its name: `timm:resnet50`, `builtin:resnet20`, `net.onnx`, `file.py:factory`, `pt2:FILE`.

torch is imported only inside the functions that build a model, so that an ONNX file is read without it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stridewise.errors import LoadError, MissingExtraError, StridewiseError, UsageError, staying
from stridewise.files import is_file
from stridewise.ir import Graph
from stridewise.models import huggingface, zoo

if TYPE_CHECKING:
    from torch import nn

Kind: TypeAlias = Literal["timm", "torchvision", "builtin", "onnx", "py", "pt2", "hf", "nnunet"]
InputSpec: TypeAlias = Sequence[int] | str | Mapping[str, Any]
_KINDS: tuple[Kind, ...] = ("timm", "torchvision", "builtin", "onnx", "py", "pt2", "hf", "nnunet")
_HERE = Path(__file__).parent
_NOT_THEIRS = (str(_HERE), str(_HERE.parent / "errors.py"))  # frames around somebody's code, in a traceback through it
_FORMS = (
    "timm:NAME, torchvision:NAME, builtin:NAME, a .onnx file, file.py:factory, py:pkg.mod:factory, hf:FOLDER, "
    "plans.json:CONFIGURATION of nnU-Net or pt2:FILE"
)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a model's name stands for. `note` says which library a bare name was found in, else it is empty."""

    kind: Kind
    name: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def resolve(spec: str | ModelSpec) -> ModelSpec:
    """The kind and name that `spec` stands for; a bare name is looked up in torchvision, then in timm.

    Raises: LoadError with the nearest names where there is no such model.
    """
    if isinstance(spec, ModelSpec):
        return spec
    spec = spec.strip()
    head, colon, rest = spec.partition(":")
    for kind in _KINDS:
        if colon and head == kind:
            if not rest:
                raise UsageError(f"model '{spec}': a name is wanted after '{head}:'")
            return ModelSpec(kind, rest)
    if spec.endswith(".onnx"):
        return ModelSpec("onnx", spec)
    if spec.endswith(".pt2"):
        return ModelSpec("pt2", spec)
    if spec.endswith(".json") or ".json:" in spec:
        return ModelSpec("nnunet", spec)
    if ".py:" in spec:
        return ModelSpec("py", spec)
    if spec.endswith(".py"):
        raise UsageError(f"model '{spec}': say which function makes the model: {spec}:factory")
    if spec and huggingface.is_folder(spec.removesuffix(":backbone")):
        return ModelSpec("hf", spec)
    if len(spec) > 255 and "/" not in spec:
        raise LoadError(f"model '{spec[:40]}...': a name of {len(spec)} letters is none; a model is {_FORMS}")
    if spec and Path(spec).is_dir():
        raise LoadError(f"{spec}: is a folder without config.json: of a folder a model of transformers is read")
    if colon:
        raise UsageError(f"model '{spec}': no kind '{head}'; a model is {_FORMS}")
    return _look_up(spec)


def _look_up(name: str) -> ModelSpec:
    """The library that has a model of this name, torchvision first."""
    if not name:
        raise UsageError(f"no model is named; a model is {_FORMS}")
    if "/" in name and Path(name).exists() and not (Path(name).is_file() or Path(name).is_dir()):
        raise LoadError(f"{name}: is a device, a pipe or a socket; a model is {_FORMS}")
    libraries = [library for library in ("torchvision", "timm") if zoo.installed(library)]
    if not libraries:
        raise MissingExtraError("torchvision or timm", "zoo", f"looking up '{name}'")
    for library in libraries:
        if zoo.has(library, name):
            kind: Kind = "timm" if library == "timm" else "torchvision"
            return ModelSpec(kind, name, f"'{name}' is taken as {library}:{name}")
    raise zoo.unknown(name, libraries)


def default_input(spec: str | ModelSpec) -> Any:
    """Channels and sizes the model was made for; 3x224x224 where nothing is known."""
    spec = resolve(spec)
    if spec.kind in ("timm", "torchvision"):
        return zoo.input_of(spec.kind, spec.name)
    if spec.kind == "hf":
        return huggingface.input_of(spec.name)
    if spec.kind == "nnunet":
        return _nnunet().input_of(spec.name)
    if spec.kind == "builtin":
        shape: Sequence[int] = _builtin("input_of", spec.name)
        return tuple(shape)
    return (3, 224, 224)


def load(
    spec: str | ModelSpec,
    *,
    device: Any = "cpu",
    trust: bool = False,
    weights: str | Path | Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> nn.Module:
    """The model that `spec` names, in eval mode, with random weights unless `weights` is given. Nothing is downloaded.

    device: where it lives; "meta" for shapes without weights. weights: a .safetensors file, a torch file of tensors,
    or a state dict. trust: allow files that run code when read (`pt2:`, pickles). kwargs: for the model's factory.
    Raises: LoadError, UsageError, MissingExtraError, each in one line.

    >>> model = sw.load("builtin:resnet20-narrow")
    >>> sum(p.numel() for p in model.parameters())
    68786
    """
    spec = resolve(spec)
    if spec.kind == "onnx":
        raise LoadError(f"{spec.name}: an ONNX file is no live model: read it with sw.read_onnx")
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "torch", f"loading {spec}") from error
    if kwargs.get("pretrained"):
        raise UsageError(f"{spec}: nothing is downloaded, so pretrained weights are not: give their file, weights=...")
    meta = torch.device(device).type == "meta"
    if meta and weights is not None:
        raise UsageError(f"{spec}: weights cannot be loaded on the meta device")
    with _code_of(spec):
        model = _made(spec, trust, meta, kwargs)
    if weights is not None:
        from stridewise.models.weights import load_weights

        load_weights(model, weights, str(spec), trust=trust)
    return model if meta else model.to(device)


def _made(spec: ModelSpec, trust: bool, meta: bool, kwargs: dict[str, Any]) -> nn.Module:
    """The model in eval mode, on the meta device or the CPU; what its own code raises is let through."""
    import torch

    with torch.device("meta") if meta else contextlib.nullcontext():
        model = _build(spec, trust, meta, kwargs)
    if spec.kind != "pt2":  # an exported program is in the mode it was exported in
        model.eval()
    return model


@contextlib.contextmanager
def _code_of(what: object) -> Iterator[None]:
    """Whatever a library's or a user's own code raises, as a LoadError with the line it came from."""
    try:
        with staying():
            yield
    except StridewiseError:
        raise
    except Exception as error:  # any code may be behind a name
        said = " ".join(str(error).split())
        own = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(_NOT_THEIRS)]
        if own and not isinstance(error, SyntaxError):  # which names its line itself
            said += f" ({Path(own[-1].filename).name}, line {own[-1].lineno})"
        raise LoadError(f"{what}: its code failed: {type(error).__name__}: {said}") from error


def _build(spec: ModelSpec, trust: bool, meta: bool, kwargs: dict[str, Any]) -> nn.Module:
    try:
        if spec.kind in ("timm", "torchvision"):
            return zoo.build(spec.kind, spec.name, meta, kwargs)
        if spec.kind == "builtin":
            made: nn.Module = _builtin("build", spec.name, **kwargs)
            return made
        if spec.kind == "hf":
            return huggingface.build(spec.name, meta, kwargs)
        if spec.kind == "nnunet":
            unet: nn.Module = _nnunet().build(spec.name)
            return unet
        if spec.kind == "pt2":
            return _read_exported(spec.name, trust)
        return _call_factory(spec.name, kwargs)
    except TypeError as error:
        if not kwargs:
            raise
        raise LoadError(f"{spec}: does not take these arguments ({', '.join(kwargs)}): {error}") from error


def _builtin(function: str, name: str, **kwargs: Any) -> Any:
    """The answer of Stridewise's own models for `name`."""
    own: Any = importlib.import_module("stridewise.models.builtin")
    known = list(own.names())
    if name not in known:
        raise LoadError(f"no built-in model '{name}'{zoo.nearest(name, known)}; there are {', '.join(known)}")
    return getattr(own, function)(name, **kwargs)


def _nnunet() -> Any:
    """The room of nnU-Net's networks, which loads torch."""
    return importlib.import_module("stridewise.models.nnunet")


def _read_exported(path: str, trust: bool) -> nn.Module:
    if not is_file(path):
        raise LoadError(f"{path}: no such file")
    if not trust:
        raise LoadError(
            f"{path}: reading an exported program can run code: pass --trust (trust=True) if you know its origin"
        )
    import torch

    try:
        return torch.export.load(path).module()
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        raise LoadError(f"{path}: not a program of torch.export ({str(error).strip().splitlines()[0]})") from error


def _call_factory(name: str, kwargs: dict[str, Any]) -> nn.Module:
    """The module that `file.py:factory` or `pkg.mod:factory` makes, or is."""
    from torch import nn

    made = _named_in(name)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise LoadError(f"{name}: a function that makes a torch.nn.Module is wanted, not {type(made).__name__}")
        made = made(**kwargs)
    if not isinstance(made, nn.Module):
        raise LoadError(f"{name}: gave {type(made).__name__}, and a torch.nn.Module is wanted")
    return made


def _named_in(name: str, what: str = "model") -> Any:
    """What `file.py:name` or `pkg.mod:name` names. what: it is wanted for."""
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise UsageError(f"{what} '{name}': name the function too, {_example(name.rstrip(':'))}")
    module = _import(where)
    made: Any = module
    for part in attribute.split("."):
        if not hasattr(made, part):
            public = [n for n in dir(module) if not n.startswith("_")]
            own = [n for n in public if getattr(getattr(module, n), "__module__", None) == module.__name__]
            held = f": it has {', '.join(own[:8])}" if own else ": define a function there that returns the model"
            raise LoadError(f"{where}: has no '{attribute}'{zoo.nearest(part, public) or held}")
        made = getattr(made, part)
    return made


def _example(where: str) -> str:
    """How a function of a file or module is named, by the first that the file defines; the file is read, not run."""
    try:
        tree = ast.parse(Path(where).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return f"as {where or 'file.py'}:factory"
    names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name[0] != "_"]
    if not names:
        return f"but {where} defines none"
    return f"as {where}:{names[0]}" + (f" (there are {', '.join(names[:8])})" if names[1:] else "")


def function_in(name: str, what: str) -> Callable[..., Any]:
    """The function that `file.py:function` or `pkg.mod:function` names, with or without `py:` before it. what: it is
    wanted for. Raises: LoadError, UsageError."""
    with _code_of(name):
        found = _named_in(name.removeprefix("py:"), what)
    if not callable(found):
        raise LoadError(f"{name}: {what} wants a function, not {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def factory_of(spec: str | ModelSpec) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """The function that makes a model, and the arguments it is given; None where only its library knows."""
    from torch import nn

    spec = resolve(spec)
    if spec.kind == "builtin":
        made: tuple[Callable[..., Any], dict[str, Any]] = _builtin("factory", spec.name)
        return made
    if spec.kind != "py":
        return None
    found = _named_in(spec.name)
    return None if isinstance(found, nn.Module) or not callable(found) else (found, {})


def _import(where: str) -> Any:
    """A module by name or file, with the working directory importable as for `python -m`."""
    path = str(Path.cwd())
    added = path not in sys.path
    if added:
        sys.path.insert(0, path)
    try:
        return _import_once(where)
    except RuntimeError as error:
        if "torchvision::" not in str(error) or not zoo.declare_missing_ops():
            raise
        return _import_once(where)
    finally:
        if added:
            sys.path.remove(path)


def _import_once(where: str) -> Any:
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is None or not (where == error.name or where.startswith(f"{error.name}.")):
                raise LoadError(f"py:{where}: its import failed: no module '{error.name}'") from error
            raise LoadError(f"py:{where}: no such module, seen from {Path.cwd()}") from error
    file = Path(where)
    if not is_file(file):
        raise LoadError(f"{where}: no such file")
    name = f"_stridewise_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes defined there find their module, e.g. for dataclasses
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def open_graph(
    spec: str | ModelSpec,
    input: InputSpec | None = None,
    *,
    trust: bool = False,
    opaque: Sequence[str] = (),
    **kwargs: Any,
) -> Graph:
    """The graph of the model that `spec` names, at `input` or the size it was made for.

    The model is built as shapes alone where it lets itself, on the CPU elsewhere; an ONNX file is read without torch.
    """
    spec = resolve(spec)
    if spec.kind == "onnx":
        reader: Any = importlib.import_module("stridewise.onnxfile.read")
        graph: Graph = reader.read_onnx(spec.name, input=input, opaque=opaque)
        return graph
    model = load_shapes(spec, trust=trust, **kwargs)
    from stridewise.tracing.trace import trace

    given = _with_default(spec, input)
    graph = trace(model, given, name=str(spec), opaque=opaque)
    if graph.end is not None and graph.end.stored:  # a number of its own that only a model with numbers has
        graph = trace(load(spec, trust=trust, **kwargs), given, name=str(spec), opaque=opaque)
    return graph


def check_opaque(graphs: Sequence[Graph], opaque: Sequence[str]) -> None:
    """Raises: UsageError for an opaque name that is no module and no op of any of these networks, read to their end."""
    if not graphs or any(graph.end is not None for graph in graphs):
        return
    names = {name for graph in graphs for node in graph.nodes for name in (node.path, node.target, node.key)}
    for asked in dict.fromkeys(opaque):
        if not any(name == asked or name.startswith(f"{asked}.") for name in names):
            models = " or ".join(dict.fromkeys(graph.model for graph in graphs))
            raise UsageError(
                f"--opaque {asked}: names no module and no op of {models}: `stridewise show` says where ops without "
                "a rule stand"
            )


def _with_default(spec: ModelSpec, input: InputSpec | None) -> Any:
    """The input with the model's own sizes where only a layout or plain values were given."""
    from stridewise.tracing.inputs import with_layout

    if input is None:
        return default_input(spec)
    if isinstance(input, str) and input.startswith("@"):
        return with_layout(default_input(spec), input[1:])
    if isinstance(input, Mapping) and all(isinstance(e, str) and e.startswith("=") for k, e in input.items() if k):
        own = input[""] if "" in input else default_input(spec)
        own = _with_default(spec, own) if isinstance(own, str) else own
        return {**(own if isinstance(own, Mapping) else {"": own}), **{k: e for k, e in input.items() if k}}
    return input


def load_shapes(spec: str | ModelSpec, *, trust: bool = False, **kwargs: Any) -> nn.Module:
    """The model for looking at its geometry: on the meta device, or on the CPU where its construction needs numbers."""
    spec = resolve(spec)
    if spec.kind == "pt2":  # its file holds numbers, and torch does not read them as shapes
        return load(spec, trust=trust, **kwargs)
    try:
        return _made(spec, trust, True, kwargs)
    except StridewiseError:
        raise
    except Exception:  # noqa: BLE001  # code may stumble in any way where there are no numbers; with them it decides
        return load(spec, trust=trust, **kwargs)
