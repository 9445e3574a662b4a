"""What an estimator is told to do: chosen by whoever calls, recorded in every result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import UsageError
from vitpose.core.provenance import Setting
from vitpose.core.skeleton import Skeleton

_SCALES = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Threshold:
    """The score below which a keypoint counts as not seen.

    Attributes:
        default: for all keypoints.
        by_name: exceptions, as pairs of keypoint and score; names another skeleton lacks do not matter to it.
    """

    default: float = 0.3
    by_name: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse scores no keypoint can have.

        Raises:
            UsageError: not between 0 and 1.
        """
        for value in (self.default, *(score for _, score in self.by_name)):
            if not 0 <= value <= 1:
                raise UsageError(f"a threshold must be between 0 and 1, not {value}")

    def of(self, skeleton: Skeleton) -> float | NDArray[np.float32]:
        """Return one number for all keypoints of ``skeleton``, or one a keypoint."""
        known = dict(self.by_name)
        if not any(name in known for name in skeleton.keypoints):
            return self.default
        return np.array([known.get(name, self.default) for name in skeleton.keypoints], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an estimator does with each crop.

    Attributes:
        flip_test: also run the mirrored crop and average the heatmaps (about twice the time).
        refine: estimate again from the box of the first pose.
        decode_sigma: blur in heatmap pixels before the sub-pixel step; 2.0 is the papers', 0.8 what transformers uses.
        threshold: score below which a keypoint counts as not seen.
        batch_size: crops a call of the engine.
        scales: of the region round each box; several are run one after the other and joined (``multiscale``), so three
            cost three times as much.
    """

    flip_test: bool = False
    refine: bool = False
    decode_sigma: float = 2.0
    threshold: Threshold | float = Threshold()
    batch_size: int = 32
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Refuse options that cannot work.

        Raises:
            UsageError: a value out of range.
        """
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.decode_sigma <= 0:
            raise UsageError(f"decode_sigma must be greater than 0, not {self.decode_sigma}")
        scales = tuple(map(float, self.scales))
        low, high = _SCALES
        if not scales or len(set(scales)) < len(scales) or not all(low <= scale <= high for scale in scales):
            raise UsageError(f"scales must be different numbers from {low:g} to {high:g}, not {self.scales}")
        object.__setattr__(self, "scales", scales)

    @property
    def settings(self) -> dict[str, Setting]:
        """Those that change points or scores, as results record them; several scales only where there are."""
        chosen: dict[str, Setting] = {
            "flip_test": self.flip_test,
            "refine": self.refine,
            "decode_sigma": self.decode_sigma,
        }
        return chosen if self.scales == (1.0,) else chosen | {"scales": self.scales}
