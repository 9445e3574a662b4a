"""What can be set about our tracker; the defaults come from ``benchmarks/tracking_study.py``."""

from dataclasses import dataclass, field

from vitpose.core.errors import UsageError
from vitpose.tracking.state import MotionModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PoseTrackerSettings:
    """Quality is the person's score: box score times the mean of the keypoint scores above 0.2.

    Attributes:
        max_people: how many people there are at most; once that many ids exist, whoever comes takes the most similar
            id that is free instead of a new one. None: no limit.
        lost_s: seconds a person who is not seen is remembered.
        new_quality: a detection below this quality starts no track.
        evidence: how much quality must add up until a new track gets its id; 0: at once.
        first_evidence: the same for people in a video's first frame, who did not just come in.
        least: similarity below which two cannot be the same.
        least_iou: overlap of expected and found box below which two cannot be the same.
        pose_weight: share of the pose in the similarity.
        box_weight: share of the box; the centre has the rest.
        quality_weight: how much a good detection is preferred to a doubtful one.
        tolerance: width of the keypoint similarity, see ``pose_similarity``.
        center_width: width of the centre similarity in body sizes.
        resize: how much a doubled or halved box counts against a pair.
        double_box: share of the box in how much two detections are doubles; the pose has the rest.
        suppress: a detection this much like a better one that the same track wants cannot continue a track with an id.
        double: a detection this much like a better one adds nothing to the evidence for a new track.
        motion: how people move.
    """

    max_people: int | None = None
    lost_s: float = 2.0
    new_quality: float = 0.45
    evidence: float = 0.4
    first_evidence: float = 0.4
    least: float = 0.2
    least_iou: float = 0.1
    pose_weight: float = 0.5
    box_weight: float = 0.3
    quality_weight: float = 0.7
    tolerance: float = 1.3
    center_width: float = 0.3
    resize: float = 0.4
    double_box: float = 0.5
    suppress: float = 0.5
    double: float = 0.5
    motion: MotionModel = field(default_factory=MotionModel)

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing.

        Raises:
            UsageError: a limit that is not positive, or shares above one.
        """
        if self.max_people is not None and self.max_people < 1:
            raise UsageError(f"max_people is {self.max_people}: give at least 1, or leave it out for no limit")
        if self.lost_s < 0:
            raise UsageError(f"lost_s is {self.lost_s}: give the seconds a lost person is remembered, 0 or more")
        if self.pose_weight + self.box_weight > 1:
            raise UsageError("pose_weight and box_weight add up to more than 1; the centre has what they leave")
