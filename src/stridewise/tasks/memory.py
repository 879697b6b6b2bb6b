"""What happens when a batch does not fit in memory: the same step in twice as many pieces."""

from __future__ import annotations

import torch

from stridewise.errors import StridewiseError

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "alloc_failed")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch on a CPU has no class of its own for it."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in text for sign in _SIGNS)


class Pieces:
    """Into how many pieces a step of `size` pictures is cut. Halving a piece leaves the step, and so the training,
    the same but for the batch norms, which see fewer pictures at once."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size
        self.note = ""

    def halve(self, name: str, pictures: int) -> None:
        """Twice as many pieces. Raises: StridewiseError where a piece is down to two pictures."""
        if -(-pictures // (2 * self.count)) < 2:
            raise StridewiseError(f"{name}: out of memory with {-(-pictures // self.count)} pictures: lower --size")
        self.count *= 2
        self.note = (
            f"out of memory: the batch was halved to {-(-self.size // self.count)} pictures at a time, {self.count} "
            "to a step"
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
