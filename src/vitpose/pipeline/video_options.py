"""What is done with a film: chosen by whoever calls, and checked before anything is begun."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vitpose.core.errors import UsageError, nearest
from vitpose.formats.film import FILM_FORMATS, FilmOptions
from vitpose.media.frames import Span, VideoInfo
from vitpose.motion.settings import OFFLINE, SmoothingSettings
from vitpose.pipeline.measure import Measurement
from vitpose.tracking.base import Tracker

VIDEO_FORMATS = ("json", "overlay", *FILM_FORMATS)
"""What can be written of a film: the journal, the annotated film, and what is made from the journal."""

_CHUNK_FRAMES, _CHUNK_PIXELS = 16, 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOptions:
    """What is done with a film.

    Attributes:
        detect_every: the detector looks at every so-many-th frame, and in between when a pose is not believed;
            ``docs/video.md`` says what that saves and costs.
        tracker: a key of ``following.TRACKERS``, a ``Tracker``, or None to leave people without ids.
        max_people: how many people there are in the whole film at most; tracker ``pose`` only.
        smoothing: how keypoints are smoothed, None for not at all. Offline methods need results on disk.
        live_smoothing: how those of live sources are, where ``smoothing`` is done after the last frame; None refuses
            such sources.
        formats: any of ``VIDEO_FORMATS``.
        film_options: choices within the formats.
        resume: continue a run that was killed, where there is one.
        blur_faces: make faces unrecognisable in the annotated film.
        span: which frames are wanted.
        rate: frames a second of a source that has no times.
        measurement: what ``predict_sources`` measures of the movement once a film is done, into ``NAME.motion``.
    """

    detect_every: int = 1
    tracker: str | Tracker | None = "pose"
    max_people: int | None = None
    smoothing: SmoothingSettings | None = None
    live_smoothing: SmoothingSettings | None = None
    formats: tuple[str, ...] = ("json", "overlay")
    film_options: FilmOptions = field(default_factory=FilmOptions)
    resume: bool = False
    blur_faces: bool = False
    span: Span = field(default_factory=Span)
    rate: float | None = None
    measurement: Measurement | None = None

    def __post_init__(self) -> None:
        """Refuse options that cannot work.

        Raises:
            UsageError: a number out of range, an unknown format, or smoothing of people without ids.
        """
        if self.detect_every < 1:
            raise UsageError(f"detect_every is {self.detect_every}: give 1 for every frame, or more")
        for name in self.formats:
            if name not in VIDEO_FORMATS:
                raise UsageError(f"unknown format of a video {name!r}{nearest(name, VIDEO_FORMATS)}")
        if self.tracker is None and self.smooths:
            raise UsageError("smoothing follows each person over time and needs a tracker: give one, or no smoothing")

    @property
    def smooths(self) -> bool:
        """Whether keypoints are smoothed at all."""
        return self.smoothing is not None and self.smoothing.method != "none"

    @property
    def smooths_afterwards(self) -> bool:
        """Whether they are smoothed in a second pass."""
        return self.smoothing is not None and self.smoothing.method in OFFLINE

    @property
    def tracker_name(self) -> str:
        """What the tracker is called; empty without one."""
        return self.tracker if isinstance(self.tracker, str) else getattr(self.tracker, "name", "")

    def for_source(self, info: VideoInfo) -> "VideoOptions":
        """Return the options as they hold for a source: what goes by is smoothed at once, where that was thought of."""
        if info.live and self.smooths_afterwards and self.live_smoothing is not None:
            return replace(self, smoothing=self.live_smoothing)
        return self

    def check(self, info: VideoInfo, out: Path | None) -> None:
        """Refuse what does not go together with a source.

        Args:
            info: of the source.
            out: folder for the results; None where none are written.

        Raises:
            UsageError: a second pass without results on disk or over a live source, or a live source continued.
        """
        if self.smooths_afterwards and (out is None or info.live):
            why = "a live source has gone by then" if info.live else "nothing is written without a folder (out)"
            method = self.smoothing.method if self.smoothing else ""
            raise UsageError(
                f"smoothing {method!r} is done after the last frame, and {why}: take 'kalman' or 'one_euro'"
            )
        if self.resume and (out is None or info.live):
            why = "a live source cannot be watched again" if info.live else "without a folder (out) nothing was kept"
            raise UsageError(f"there is nothing to resume: {why}")

    def chunk(self, info: VideoInfo) -> int:
        """Return how many processed frames go through the stages together.

        It depends on the source alone, so that a run that is continued makes the same chunks. Live frames go one by
        one, because somebody is waiting for them; large ones in smaller chunks, to bound memory.
        """
        pixels = max(info.size.height * info.size.width, 1)
        return 1 if info.live else min(max(_CHUNK_PIXELS // pixels, 1), _CHUNK_FRAMES)

    def identity(self) -> dict[str, Any]:
        """Return what changes results, as plain data: a run is continued only with the same."""
        return {
            "detect_every": self.detect_every,
            "tracker": self.tracker_name,
            "max_people": self.max_people,
            "smoothing": asdict(self.smoothing) if self.smoothing is not None and self.smooths else None,
            "blur_faces": self.blur_faces,
            "span": asdict(self.span),
            "rate": self.rate,
        }
