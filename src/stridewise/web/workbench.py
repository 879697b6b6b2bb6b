"""The networks of one start: named on the command line, traced in the background, kept with their live twins."""

from __future__ import annotations

import gc
import importlib.util
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stridewise.errors import StridewiseError, UsageError
from stridewise.ir import Graph
from stridewise.models.load import check_opaque, load, open_graph, resolve
from stridewise.report.scale import Scale
from stridewise.web.whatif import Studied

_OBJECTS = 50_000  # objects between two looks of the garbage collector; a what-if makes some thousands
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
                studied = Studied(graph=graph, live=spec.kind != "onnx", scale=self.scale)
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
