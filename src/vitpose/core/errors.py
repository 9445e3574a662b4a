"""One exception tree. Every message says what went wrong, where, and what to do about it.

The command line turns ``exit_code`` into the process's exit status; the table is in ``docs/cli.md``.
"""

import difflib
from collections.abc import Iterable


class VitPoseError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 1


class UsageError(VitPoseError):
    """The call itself is wrong: an unknown name, or arguments that contradict each other."""

    exit_code = 2


class InputError(VitPoseError):
    """Something the user handed in cannot be read or does not mean what it should."""

    exit_code = 3


class WeightsError(VitPoseError):
    """Weights are not to be had, are damaged, or do not fit the model."""

    exit_code = 5


class GateError(VitPoseError):
    """A measured quality is below the limit that was asked for."""

    exit_code = 6


class MissingExtraError(VitPoseError):
    """An optional dependency is not installed."""


def nearest(name: str, options: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest option, or the list of options if none is close."""
    known = sorted(options)
    lowered = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {lowered[close[0]]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
