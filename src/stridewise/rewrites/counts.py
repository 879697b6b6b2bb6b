"""What spread windows read: the positions an average divides by, and whether a window may read none at all."""

from __future__ import annotations

from stridewise.axis import Window


def counted(old: Window, new: Window, m_in: int, size: int, padding: bool) -> list[int]:
    """Positions along one axis that an average pool divides by at each place of its spread window.

    Source: ATen avg_pool2d: the divisor counts padding up to size + pad, never the overhang of ceil_mode.
    """
    if old.same:  # padded beforehand, so that padding counts like anything else
        return [old.kernel] * new.out_size(size)
    low, high = (-old.pad_begin * m_in, size + old.pad_end * m_in) if padding else (0, size)
    return [max(n, 1) for n in hits(new, size, low, high)]


def hits(window: Window, size: int, low: int, high: int) -> list[int]:
    """How many of a window's elements lie in low..high - 1, at each of its places along `size` positions."""
    counts = []
    for place in range(window.out_size(size)):
        start = place * window.stride - window.pad_begin
        at = range(start, start + window.kernel * window.dilation, window.dilation)
        counts.append(sum(low <= n < high for n in at))
    return counts


def may_read_nothing(old: Window, m_out: int) -> bool:
    """Whether, at some size, a window between the old ones lies in the end padding alone.

    The last of them starts step * (goes - 1) / m_out behind the last old one, which itself reads something; with
    ceil_mode or SAME that one may start as late as the last position.
    """
    late = old.stride - 1 >= 1 if old.ceil_mode or old.same else False
    return m_out > 1 and (late or old.stride * (m_out - 1) >= m_out * (old.span - old.pad_end))
