"""Module paths of ONNX nodes, from what the exporter wrote beside them, and the module calls they make up."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

import onnx

from stridewise.building.recorded import ModuleCall

_SCOPES = "pkg.torch.onnx.name_scopes"
# Metadata of a step inserted at a slot: the slot's name.
STEP = "stridewise.step"
# Modules do not lie in one another deeper than this, nor are their paths longer: such names mean something else.
_DEEPEST, _LONGEST = 64, 1 << 12


def step_at(node: onnx.NodeProto) -> str:
    """The slot at which a node was inserted as a step; nothing for any other node."""
    return next((entry.value for entry in node.metadata_props if entry.key == STEP), "")


def scopes(node: onnx.NodeProto) -> list[str] | None:
    """Module paths around a node, outermost first; None where the file does not say.

    Source: torch.onnx: node metadata `pkg.torch.onnx.name_scopes` (a list of paths, the operation's own name last);
    node names `/layer1/layer1.0/conv1/Conv` of the exporter through TorchScript, where a numbered module repeats the
    name of the list it is in.
    """
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            if len(entry.value) > _DEEPEST * _LONGEST:
                return None
            try:
                paths = ast.literal_eval(entry.value)
            except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
                return None
            if not isinstance(paths, list) or len(paths) > _DEEPEST:
                return None
            return _with_weight(node, [str(path).split("@")[0] for path in paths[:-1] if path])
    parts = node.name.split("/", _DEEPEST)
    if not 1 < len(parts) <= _DEEPEST or parts[0] or not parts[-1].startswith(node.op_type):
        return None
    paths, before = [], ""
    for part in parts[1:-1]:
        above = paths[-1] if paths else ""
        if before and part.startswith(f"{before}."):
            paths.append(above + part.removeprefix(before))
        else:
            paths.append(f"{above}.{part}" if above else part)
        before = part
    return paths


def _with_weight(node: onnx.NodeProto, paths: list[str]) -> list[str]:
    """The paths, the last one that of the weight's module where an exporter folded a norm beside it into the node."""
    if node.op_type not in ("Conv", "ConvTranspose") or not paths or not node.input[1].endswith(".weight"):
        return paths
    own = node.input[1].removesuffix(".weight")
    beside = own.rpartition(".")[0] == paths[-1].rpartition(".")[0]
    return [*paths[:-1], own] if beside else paths


@dataclass(slots=True)
class Owners:
    """Turns node names into module calls: entering and leaving scopes as the nodes come."""

    stack: list[ModuleCall] = field(default_factory=list)
    calls: list[ModuleCall] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def of(self, node: onnx.NodeProto) -> ModuleCall:
        """The module call that runs `node`; a node without scopes is a module of its own name."""
        behind = step_at(node)
        if behind:
            found = next((call for call in self.stack if call.path == behind), None)
            if found is not None:
                return found
        paths = scopes(node)
        if paths is None:
            own = node.name or node.op_type
            self.numbers[own] = self.numbers.get(own, 0) + 1
            return ModuleCall(own, self.numbers[own], None, True)
        while self.stack and self.stack[-1].path not in paths:
            self.calls.append(self.stack.pop())
        for path in paths[len(self.stack) :]:
            above = self.stack[-1] if self.stack else None
            if above is not None:
                above.leaf = False
            self.numbers[path] = self.numbers.get(path, 0) + 1
            self.stack.append(ModuleCall(path, self.numbers[path], above, True))
        return self.stack[-1] if self.stack else ModuleCall("", 1, None, False)

    def made(self, tensors: list[int]) -> None:
        """Tell every open module what the node just read has made: the last of it is the module's output."""
        for call in self.stack:
            call.output = tensors[0] if len(tensors) == 1 else None

    def close(self) -> list[ModuleCall]:
        """All module calls, in the order they ended."""
        while self.stack:
            self.calls.append(self.stack.pop())
        return self.calls
