"""The networks of one start: traced in the background, kept with their live twins, and run under plans."""

from __future__ import annotations

import gc
import importlib.util
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stridewise.errors import MissingExtraError, StridewiseError, UsageError
from stridewise.ir import Graph
from stridewise.models.load import check_opaque, load, open_graph, resolve
from stridewise.plans import Plan
from stridewise.report.scale import Scale
from stridewise.web.jobs import Report
from stridewise.web.whatif import Studied

if TYPE_CHECKING:
    from stridewise.measuring.variants import Variant

_OBJECTS = 50_000  # objects between two looks of the garbage collector; a what-if makes some thousands
Json = dict[str, Any]
ORIGINAL = "original"
_MOST_PLANS, _MOST_NAME = 3, 40
_MOST_MACS = 200e9
BUNDLED = ("torchvision:resnet18", "torchvision:resnet50", "builtin:resnet20")


def bundled() -> list[str]:
    """The networks shown when none is named: torchvision's where it is installed, and a built-in one."""
    if importlib.util.find_spec("torchvision") is None:
        return [name for name in BUNDLED if name.startswith("builtin:")]
    return list(BUNDLED)


@dataclass(slots=True, eq=False)
class Opened:
    """One network: its graph once it is traced, or why it is not; its live model once a job asks for it."""

    name: str
    input: Any
    trust: bool
    weights: str | None = None
    opaque: Sequence[str] = ()
    scale: Scale | None = None
    studied: Studied | None = None
    error: str = ""
    live: Any = None
    inner: dict[tuple[str, int], Any] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Trace the network, once."""
        with self.turn:
            if self.ready.is_set():
                return
            try:
                spec = resolve(self.name)
                self.name = str(spec)
                graph = open_graph(spec, self.input, trust=self.trust, opaque=self.opaque)
                _refuse_no_picture(graph)
                studied = Studied(graph=graph, scale=self.scale)
                _ = studied.original
                self.studied = studied
            except StridewiseError as error:
                self.error = " ".join(str(error).split())
            except Exception as error:  # noqa: BLE001  a user's factory may raise anything
                self.error = f"{self.name}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            self.ready.set()

    def wait(self) -> Studied:
        """The traced network, as soon as it is there. Raises: UsageError with the reason it is not."""
        if not self.ready.is_set():
            self.open()
        if self.studied is None:
            raise UsageError(self.error)
        return self.studied

    @property
    def is_file(self) -> bool:
        """Whether it is an ONNX file, which has no live model."""
        return resolve(self.name).kind == "onnx"

    @property
    def random(self) -> bool:
        """Whether its weights are drawn, not trained: a library's network without --weights."""
        return self.weights is None and resolve(self.name).kind in ("timm", "torchvision", "builtin")

    def model(self) -> Any:
        """The live model on the CPU, built when a job first needs it. Raises: UsageError for a file that has none."""
        if self.is_file:
            raise UsageError(f"{self.name}: an ONNX file is no live model; name the PyTorch model it was made from")
        if self.live is None:
            self.live = load(resolve(self.name), trust=self.trust, weights=self.weights)
        return self.live

    def filter(self, key: str) -> Any:
        """A convolution's weights, (channels out, channels in / groups, *kernel). Raises: UsageError for none."""
        if self.is_file:
            from stridewise.measuring.onnx_run import file_filter

            return file_filter(resolve(self.name).name, key)
        try:
            return self.model().get_submodule(key.split("#")[0]).weight.detach().numpy()
        except AttributeError as error:
            raise UsageError(f"{key}: has no filter of its own; choose a convolution") from error

    def standardised(self, x: Any) -> Any:
        """Pictures (N, channels, *sizes) of 0..1 as this network's library feeds it."""
        from stridewise.measuring.pictures import standardised
        from stridewise.measuring.variants import standard_of

        return standardised(x, standard_of(resolve(self.name)))

    def shape(self) -> tuple[int, ...]:
        """Channels and sizes of its picture."""
        graph = self.wait().graph
        return graph.tensors[graph.inputs[0][1]].shape[1:]


def _refuse_no_picture(graph: Graph) -> None:
    if not graph.inputs or not graph.grids:
        raise UsageError(f"{graph.model}: it reads no positions, so there is no stride to show")


class Workbench:
    """Every network of this start, by number."""

    def __init__(
        self,
        names: Sequence[str],
        input: Any = None,
        trust: bool = False,
        weights: str | None = None,
        opaque: Sequence[str] = (),
        scale: Scale | None = None,
    ) -> None:
        self.opened = [Opened(name, input, trust, weights, opaque, scale) for name in names]

    def warm(self) -> threading.Thread:
        """Trace the networks one after the other in the background; the thread that does."""

        def trace_all() -> None:
            for one in self.opened:
                one.open()
            # What is traced stays: the collector need not walk a whole network's objects after every what-if.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_OBJECTS, 20, 20)

        thread = threading.Thread(target=trace_all, name="tracing", daemon=True)
        thread.start()
        return thread

    def check_opaque(self) -> None:
        """Raises: UsageError for an --opaque that names no module and no op of any network that could be read."""
        graphs = [one.studied.graph for one in self.opened if one.studied is not None]
        check_opaque(graphs, [name for one in self.opened for name in one.opaque])

    def find(self, number: Any) -> Opened:
        """The network of that number. Raises: UsageError."""
        if not isinstance(number, int) or not 0 <= number < len(self.opened):
            raise UsageError(f"there is no network number {str(number)[:20]} here: there are {len(self.opened)}")
        return self.opened[number]

    def listed(self) -> list[dict[str, Any]]:
        """Names, whether each is traced, and why one is not."""
        return [{"name": one.name, "ready": one.ready.is_set(), "error": one.error} for one in self.opened]


def refusals(opened: Opened) -> dict[str, str]:
    """By kind of job why it cannot be done with this network at all; nothing for those that can.

    "filter": taking a layer's own filter for the one convolution.
    """
    graph = opened.wait().graph
    channels, *sizes = opened.shape()
    out: dict[str, str] = {}
    if opened.is_file:
        out["field"] = (
            "an ONNX file gives no gradients: the dashed box is the exact field; "
            "open the PyTorch model it was made from for the measured one"
        )
        out["elastic"] = "an ONNX file has the strides it was written with; open the PyTorch model it was made from"
    if len(sizes) == 2 and channels != 3:
        out["shift"] = f"pictures of three channels are moved, and this network reads {channels}"
    if len(sizes) != 2:
        out |= dict.fromkeys(("maps", "field", "shift", "filter"), f"a picture has two axes, not {len(sizes)}")
    if len(graph.inputs) != 1:
        reason = f"it reads {len(graph.inputs)} inputs, and one picture cannot serve them all"
        out |= dict.fromkeys(("maps", "field", "latency", "elastic", "shift"), reason)
    lacks = [] if not opened.is_file or importlib.util.find_spec("onnxruntime") else ["onnxruntime"]
    if importlib.util.find_spec("torch") is None:
        lacks.append("torch")
    for library in lacks:
        missing = str(MissingExtraError(library, "onnx" if library == "onnxruntime" else "torch", "running it"))
        out |= dict.fromkeys(("maps", "field", "latency", "elastic", "shift", "filter"), missing)
    return out


def kinds_here(opened: Opened) -> Json:
    """By place the ways to step that can be carried out: an ONNX file takes fewer than a model."""
    found: Json = opened.wait().original["kinds"]
    if not opened.is_file:
        return found
    from stridewise.onnxfile.steps import IN_FILES, POOLS

    out = {key: [kind for kind in kinds if kind in IN_FILES] for key, kinds in found.items()}
    standing = [slot.key for slot in opened.wait().graph.slots if slot.node is not None]
    return out | {f"+{key}": [kind for kind in out["+"] if kind in POOLS] for key in standing}


def check(opened: Opened, kind: str, report: Report) -> None:
    """Refuse what cannot be run here, and build what can. Raises: UsageError."""
    reason = refusals(opened).get(kind)
    if reason:
        raise UsageError(f"{opened.name}: {reason}")
    macs = opened.wait().original["totals"]["macs"]
    if macs > _MOST_MACS:
        raise UsageError(
            f"{opened.name}: {macs / 1e9:.0f} G multiply-adds are too many to run on this page; its geometry works on. "
            "Start with a smaller --input, or run `stridewise measure` in a terminal"
        )
    report(0.05, f"building {opened.name}")
    if not opened.is_file:
        opened.model()


def compared(opened: Opened, asked: Json) -> Mapping[str, Plan | None]:
    """By name the plans that a job is about, in order; None is the network as it came.

    asked["plans"]: one to three requests, each with a name. Raises: UsageError, PlanError.
    """
    rows = asked.get("plans", [{"name": ORIGINAL}])
    if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_PLANS or any(not isinstance(r, dict) for r in rows):
        raise UsageError(f"plans: one to {_MOST_PLANS} are compared, each with a name and its changes")
    out: dict[str, Plan | None] = {}
    for row in rows:
        name = row.get("name")
        taken = {_label(other) for other in out}
        if not isinstance(name, str) or not 0 < len(name) <= _MOST_NAME or _label(name) in taken:
            raise UsageError(f"plans: each wants a name of its own, of at most {_MOST_NAME} letters")
        plan = opened.wait().plan(row)
        out[name] = plan or None
    return out


def _label(name: str) -> str:
    """A plan's name in messages that begin with "plan"."""
    return name.removeprefix("plan ")


@contextmanager
def running(opened: Opened, asked: Json) -> Iterator[list[tuple[str, Plan | None, Variant]]]:
    """(name, plan, what runs) for each plan that is compared; what was written for it goes afterwards."""
    from stridewise.measuring.variants import variants

    plans = compared(opened, asked)
    source = opened.name if opened.is_file else opened.model()
    changed = {_label(name): plan for name, plan in plans.items() if plan is not None}
    found = variants(source, changed, input=opened.shape())
    try:
        by_name = {variant.name: variant for variant in found.every[1:]}
        yield [(name, plan, found.every[0] if plan is None else by_name[_label(name)]) for name, plan in plans.items()]
    finally:
        found.close()
