"""Which filter smooths, and how much: plain numbers in seconds, hertz and body sizes."""

from dataclasses import dataclass

from vitpose.core.errors import UsageError, nearest

ONLINE = ("none", "one_euro", "kalman")
"""Methods that use the past only."""

OFFLINE = ("butterworth", "savitzky_golay", "rts")
"""Methods that use past and future, without lag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothingSettings:
    """The defaults come from ``benchmarks/smoothing_study.py``; ``docs/smoothing.md`` shows its table.

    Body size is the square root of the box's area in pixels, so the same numbers suit a child far away and a face
    filling the picture; times the size they are pixels and pixels per second.

    Attributes:
        method: one of ``ONLINE`` or ``OFFLINE``.
        max_gap_s: a longer pause ends a curve: nothing is smoothed across it.
        rest_cutoff_hz: One Euro: cutoff at rest.
        beta: One Euro: rise of the cutoff in Hz for each body size a second.
        speed_cutoff_hz: One Euro: cutoff of the speed.
        noise: Kalman, RTS: standard deviation of a keypoint of score 1 in body sizes.
        acceleration: Kalman, RTS: root spectral density in body sizes / s^1.5.
        speed: Kalman, RTS: usual size of velocities in body sizes / s.
        cutoff_hz: Butterworth: frequency passed with half the amplitude.
        window_s: Savitzky-Golay: length of the window.
        order: Savitzky-Golay: degree of the polynomial.
    """

    method: str = "kalman"
    max_gap_s: float = 0.5
    rest_cutoff_hz: float = 2.5
    beta: float = 8.0
    speed_cutoff_hz: float = 2.0
    noise: float = 0.02
    acceleration: float = 1.5
    speed: float = 1.0
    cutoff_hz: float = 5.0
    window_s: float = 0.35
    order: int = 2

    def __post_init__(self) -> None:
        """Refuse what no filter can do.

        Raises:
            UsageError: an unknown method (the nearest one is named) or a number that must be positive and is not.
        """
        if self.method not in (*ONLINE, *OFFLINE):
            raise UsageError(f"unknown smoothing {self.method!r}{nearest(self.method, (*ONLINE, *OFFLINE))}")
        for name in ("rest_cutoff_hz", "speed_cutoff_hz", "noise", "acceleration", "speed", "cutoff_hz", "window_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"smoothing {name} is {getattr(self, name)}: give a number above 0")
        for name in ("beta", "max_gap_s", "order"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"smoothing {name} is {getattr(self, name)}: give 0 or more")
