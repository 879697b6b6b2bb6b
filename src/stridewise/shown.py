"""How results show themselves in a notebook where plain text says it all."""

import html


class Shown:
    """A result whose `str()` is also what a notebook shows."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
