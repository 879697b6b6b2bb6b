"""The variables and blocks of a program while it is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from stridewise.fronts.program import Block, Instruction, Monomial


@dataclass(slots=True)
class Line:
    """Variables by what they describe, and the blocks so far. Per variable: its size where that is a constant (else 0),
    the block in which it gets its size, and the last block that reads it."""

    blocks: list[Block] = field(default_factory=lambda: [Block()])
    sizes: list[int] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    known: dict[object, int] = field(default_factory=dict)

    def var(self, key: object, size: int = 0) -> tuple[int, bool]:
        """(variable, whether it is new) of what `key` describes."""
        if key in self.known:
            return self.known[key], False
        self.known[key] = index = len(self.sizes)
        self.sizes.append(size)
        self.born.append(len(self.blocks) - 1)
        self.used.append(len(self.blocks) - 1)
        return index, True

    def constant(self, size: int) -> int:
        """The variable of a size that never changes."""
        index, new = self.var(("constant", size), size)
        if new:
            self.born[index] = 0
        return index

    def use(self, *variables: int) -> None:
        """Note that the newest block reads these."""
        for v in variables:
            self.used[v] = max(self.used[v], len(self.blocks) - 1)

    def emit(self, instruction: Instruction) -> None:
        """Append to the newest block."""
        self.blocks[-1].instructions.append(instruction)

    def settled(self, *monomials: Monomial) -> int:
        """The block in which the last of the variables gets its size; all of them stay open until then."""
        variables = {v for m in monomials for v in m}
        block = max((self.born[v] for v in variables), default=0)
        for v in variables:
            self.used[v] = max(self.used[v], block)
        return block

    def open(self, block: int) -> tuple[int, ...]:
        """Variables that have their size behind a block and are read by a later one."""
        return tuple(v for v, size in enumerate(self.sizes) if not size and self.born[v] <= block < self.used[v])
