"""How a run goes, and who wants to know."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vitpose.core.poses import Poses
from vitpose.formats.results import Origin
from vitpose.media.frames import Frame


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be worked on, and why."""

    source: str
    message: str


@dataclass(slots=True)
class Summary:
    """How a run goes, and in the end how it went.

    Attributes:
        pictures: pictures whose results are written.
        frames: frames of films likewise.
        people: poses in them.
        failures: sources that were passed over.
        interrupted: the run was stopped from the keyboard; what was done until then is written.
    """

    pictures: int = 0
    frames: int = 0
    people: int = 0
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSummary:
    """How one film went.

    Attributes:
        frames: frames whose poses are there, those of an earlier run that was continued among them.
        people: poses in them.
        detections: frames the detector looked at.
        complete: the source was read to its end, or it is live and somebody ended it.
        interrupted: somebody stopped the run from the keyboard.
        files: what was written, with the journal first.
    """

    frames: int = 0
    people: int = 0
    detections: int = 0
    complete: bool = False
    interrupted: bool = False
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Who wants to know how the run goes; of films they are told in the thread that started the run.

    Attributes:
        result: told every result once it is written.
        failure: told every source that is passed over.
        frame: told every frame of a film as it is worked on, with its picture. Smoothing that looks into the future
            is still to come then; ``result`` has it.
        broken: told what is kept of a film whose source broke off, before the error is raised.
    """

    result: Callable[[Origin, Poses], None] = lambda _origin, _poses: None
    failure: Callable[[Failure], None] = lambda _failure: None
    frame: Callable[[Frame, Poses], None] = lambda _frame, _poses: None
    broken: Callable[[VideoSummary], None] = lambda _kept: None
