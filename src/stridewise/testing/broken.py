"""What a promise that is not kept raises."""


class Broken(AssertionError):  # noqa: N818  a promise is broken
    """A promise that an op does not keep: the op, its target, the call and what is wrong, in one line."""
