"""One decoder of a model, with what it takes to run it and to read its answers."""

from dataclasses import dataclass

from vitpose.core.errors import UsageError
from vitpose.core.skeleton import Skeleton
from vitpose.engines.base import Engine
from vitpose.models.variants import HeadSpec
from vitpose.pipeline.probabilities import Probabilities


@dataclass(frozen=True, slots=True)
class Head:
    """One decoder of a loaded model, ready to run.

    Attributes:
        spec: how it was trained: codec, square boxes, number of keypoints.
        skeleton: what its keypoints are called.
        engine: runs the model with this head.
        probabilities: what its scores are worth; None where nobody found that out.
    """

    spec: HeadSpec
    skeleton: Skeleton
    engine: Engine
    probabilities: Probabilities | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together.

        Raises:
            UsageError: skeleton and engine disagree about the number of keypoints.
        """
        if len(self.skeleton) != self.engine.num_keypoints:
            raise UsageError(
                f"skeleton {self.skeleton.name!r} has {len(self.skeleton)} keypoints, the model gives"
                f" {self.engine.num_keypoints}"
            )
