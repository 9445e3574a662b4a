"""What a preset and a user's own words ask for together; his words win."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitpose.core.errors import UsageError, nearest
from vitpose.core.skeleton import Skeleton
from vitpose.formats.film import FILM_FORMATS
from vitpose.formats.results import WRITERS
from vitpose.motion.preset import Preset, keypoint_thresholds
from vitpose.motion.settings import OFFLINE, ONLINE, SmoothingSettings
from vitpose.pipeline.following import check_tracker
from vitpose.pipeline.options import Threshold

MOTION = "motion"
"""Among the formats: measure the movement in every film once it is done (``vitpose motion``)."""

PICTURE_FORMATS = (*WRITERS, "overlay")
"""What can be written of pictures; of films ``coco`` means ``coco-video``, and there is more."""

FORMATS = (*dict.fromkeys((*PICTURE_FORMATS, *FILM_FORMATS)), MOTION)
"""What can be asked for; pictures pass over what only films have."""

SMOOTHINGS = ("online", "offline", *ONLINE, *OFFLINE)
"""Words for smoothing: ``online`` and ``offline`` stand for the preset's method, or our default."""

_PRESET_OUTPUTS = {"video": ("overlay",), "coco": ("coco",)}

_DEFAULT_FORMATS = ("json", "overlay")

_LAST_RESORT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a user said; None where he said nothing.

    Attributes:
        model: name of a model.
        threshold: score that counts as seen: one for all keypoints, or by name with ``*`` for the others.
        tracker: name of a tracker, or ``none``.
        max_people: how many people there are at most.
        smoothing: one of ``SMOOTHINGS``.
        formats: some of ``FORMATS``; empty writes nothing.
    """

    model: str | None = None
    threshold: float | Mapping[str, float] | None = None
    tracker: str | None = None
    max_people: int | None = None
    smoothing: str | None = None
    formats: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """What is to be done.

    Attributes:
        model: name of a model; None leaves the choice to the rule of the package.
        tracker: name of a tracker, or None.
        max_people: how many people there are at most, or None.
        smoothing: how films are smoothed, or None.
        formats: what is written; ``motion`` is not among them.
        measured: whether the movement in films is measured.
        preset: the use case, for what is measured.
        given: thresholds the user named.
    """

    model: str | None
    tracker: str | None
    max_people: int | None
    smoothing: SmoothingSettings | None
    formats: tuple[str, ...]
    measured: bool
    preset: Preset | None
    given: float | Mapping[str, float] | None

    def threshold(self, skeleton: Skeleton) -> Threshold | float:
        """Return the thresholds for a skeleton: the preset's by kind of keypoint, and what the user named instead.

        Raises:
            UsageError: the user named a keypoint the skeleton lacks.
        """
        named = {} if self.given is None or isinstance(self.given, (int, float)) else dict(self.given)
        for name in named:
            if name != "*":
                skeleton.index(name)
        if isinstance(self.given, (int, float)):
            return Threshold(float(self.given))
        if self.preset is None or "*" in named:
            rest = float(named.pop("*", _LAST_RESORT))
            return Threshold(rest, tuple(named.items()))
        table = keypoint_thresholds(skeleton, self.preset.threshold)
        by_name = dict(zip(skeleton.keypoints, map(float, table), strict=True)) | named
        return Threshold(self.preset.threshold, tuple(by_name.items()))


def combine(wishes: Wishes, preset: Preset | None, *, live: bool) -> Purpose:
    """Return what to do; ``live`` says that a source goes by while it is looked at: nothing can wait for its end.

    Raises:
        UsageError: an unknown word, or smoothing without a tracker.
    """
    tracker = wishes.tracker or (preset.tracker if preset else "pose")
    followed = None if tracker == "none" else tracker
    if followed is not None:
        check_tracker(followed)
    formats = wishes.formats if wishes.formats is not None else _preset_formats(preset)
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}{nearest(name, FORMATS)}")
    if MOTION in formats and "json" not in formats:
        raise UsageError("the format motion measures what is in the json results: write --format json,motion")
    return Purpose(
        model=wishes.model or (preset.model if preset else None),
        tracker=followed,
        max_people=wishes.max_people or (preset.max_people if preset and tracker == preset.tracker else None),
        smoothing=_smoothing(wishes.smoothing, preset, live=live or not formats, followed=followed is not None),
        formats=tuple(name for name in formats if name != MOTION),
        measured=MOTION in formats,
        preset=preset,
        given=wishes.threshold,
    )


def _preset_formats(preset: Preset | None) -> tuple[str, ...]:
    if preset is None:
        return _DEFAULT_FORMATS
    named = [one for output in preset.outputs for one in _PRESET_OUTPUTS.get(output, (output,))]
    return tuple(dict.fromkeys(named))


def _smoothing(wanted: str | None, preset: Preset | None, *, live: bool, followed: bool) -> SmoothingSettings | None:
    """Films are smoothed online unless something else is said: everybody's first wish is that points stop trembling."""
    online = preset.online if preset else SmoothingSettings()
    offline = preset.offline if preset else SmoothingSettings(method="butterworth")
    if wanted is None:
        later = preset is not None and offline.method != "none" and not live
        chosen = offline if later else online
        return chosen if followed and chosen.method != "none" else None
    if wanted not in SMOOTHINGS:
        raise UsageError(f"unknown smoothing {wanted!r}{nearest(wanted, SMOOTHINGS)}")
    chosen = {"online": online, "offline": offline}.get(wanted) or _tuned(wanted, (online, offline))
    if chosen.method == "none":
        return None
    if not followed:
        raise UsageError("smoothing follows each person over time: leave out --tracker none, or take --smooth none")
    return chosen


def _tuned(method: str, known: Sequence[SmoothingSettings]) -> SmoothingSettings:
    """Return a method as the preset tunes it, where it does."""
    return next((one for one in known if one.method == method), SmoothingSettings(method=method))
