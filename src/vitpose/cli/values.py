"""Values of options that several commands take."""

from vitpose.core.errors import UsageError


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Read numbers with commas between.

    Raises:
        UsageError: something else; ``option`` is named.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r}: give numbers with commas between, for instance 0.8,1,1.25") from None
