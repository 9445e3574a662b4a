"""From the result file of a video to what is measured of its people: tables, plots and a report in a folder."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vitpose.core.errors import UsageError
from vitpose.motion.analyse import AnalysisSettings, PersonMotion, analyse
from vitpose.motion.angle_list import default_angles, load_angles
from vitpose.motion.clip import Clip, read_clip
from vitpose.motion.measures import scale_from_length
from vitpose.motion.preset import Preset
from vitpose.motion.report import write_report
from vitpose.motion.series import series_from_poses
from vitpose.motion.settings import SmoothingSettings
from vitpose.motion.tables import write_tables
from vitpose.pipeline.own_results import Claim
from vitpose.tracking.base import track
from vitpose.tracking.pose_tracker import PoseTracker
from vitpose.tracking.settings import PoseTrackerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLength:
    """The distance between two keypoints of a person in metres, by which pixels become metres."""

    first: str
    second: str
    metres: float

    def __post_init__(self) -> None:
        """Refuse what is no length.

        Raises:
            UsageError: not a positive number.
        """
        if not (math.isfinite(self.metres) and self.metres > 0):
            raise UsageError(f"a known length is a number of metres above 0, not {self.metres}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What to measure and how to write it.

    Attributes:
        settings: what is done and measured.
        angles: name of a list of angles or its ``.toml`` file; empty: what suits the skeleton.
        length: scale by a known length; None leaves pixels.
        max_people: how many people there are, for a video that has no track ids yet; None: no limit.
        tables: ``csv`` or ``parquet``.
    """

    settings: AnalysisSettings = field(default_factory=AnalysisSettings)
    angles: str = ""
    length: KnownLength | None = None
    max_people: int | None = None
    tables: str = "csv"


@dataclass(frozen=True, slots=True)
class Measured:
    """The people that were measured, and the files about them."""

    people: tuple[PersonMotion, ...]
    files: tuple[Path, ...]


def measure_film(results: Path, out: Path, measurement: Measurement | None = None) -> Measured:
    """Measure the movement of everybody in a video and write tables, plots and ``report.html``.

    Where the result file holds smoothed points the raw ones beside them are taken, so nothing is smoothed twice.
    People without track ids are tracked first.

    Args:
        results: ``NAME.jsonl`` of ``vitpose predict``.
        out: folder for the files.
        measurement: what to measure.

    Raises:
        InputError: not the result file of a video.
        UsageError: an angle, keypoint or setting that does not exist, or a file in ``out`` is no result of ours.
    """
    chosen = measurement or Measurement()
    Claim([results]).measured(out, chosen.tables)
    clip = _with_ids(read_clip(results), chosen.max_people)
    skeleton = clip.frames[0].skeleton
    specs = load_angles(chosen.angles, skeleton) if chosen.angles else default_angles(skeleton)
    settings = chosen.settings if chosen.length is None else _scaled(chosen.settings, clip, chosen.length)
    people = analyse(clip.frames, clip.times_s, specs, settings)
    tables = write_tables([_numbered(person, clip) for person in people], out, chosen.tables)
    report = out / "report.html"
    write_report(people, report, source=clip.source, notes=_notes(settings))
    return Measured(tuple(people), (*tables, report))


def _numbered(person: PersonMotion, clip: Clip) -> PersonMotion:
    """Return a person whose frames bear the film's own numbers, as all its other results do."""
    frames = np.asarray(clip.numbers, dtype=np.int64)[person.series.frames]
    return replace(person, series=replace(person.series, frames=frames))


def preset_analysis(preset: Preset | None, smoothing: str | None = None) -> AnalysisSettings:
    """Return how a preset smooths and repairs a whole video; ``smoothing`` names another method."""
    plain = AnalysisSettings()
    if preset is None:
        return plain if smoothing is None else replace(plain, smoothing=SmoothingSettings(method=smoothing))
    offline = preset.offline if smoothing is None else SmoothingSettings(method=smoothing)
    return replace(plain, smoothing=offline, repair=preset.repair, gaps_s=preset.gaps_s, threshold=preset.threshold)


def parse_postures(texts: list[str]) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """Read ``NAME:ANGLE=LOW..HIGH`` rules as limits in degrees by angle, by posture.

    Raises:
        UsageError: a rule of another form.
    """
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for text in texts:
        name, colon, rule = text.partition(":")
        angle, equals, limits = rule.partition("=")
        low, dots, high = limits.partition("..")
        try:
            found.setdefault(name, {})[angle] = (float(low), float(high))
        except ValueError:
            dots = ""
        if not (name and colon and equals and dots) or not found[name][angle][0] < found[name][angle][1]:
            raise UsageError(
                f"--posture {text!r}: write NAME:ANGLE=LOW..HIGH, for instance squat:left_knee_flexion=70..140,"
                " the lower limit first"
            )
    return found


def parse_length(text: str) -> KnownLength:
    """Read ``KEYPOINT,KEYPOINT=METRES``.

    Raises:
        UsageError: another form, or no positive number.
    """
    names, equals, metres = text.partition("=")
    first, comma, second = names.partition(",")
    try:
        value = float(metres)
    except ValueError:
        value = math.nan
    if not (equals and comma and math.isfinite(value)):
        raise UsageError(f"--length {text!r}: write KEYPOINT,KEYPOINT=METRES, for instance left_hip,left_knee=0.45")
    return KnownLength(first=first.strip(), second=second.strip(), metres=value)


def _with_ids(clip: Clip, max_people: int | None) -> Clip:
    """Track the people if nobody has: a video without ids is one that was not tracked."""
    if any(poses.track_ids is not None for poses in clip.frames):
        return clip
    tracker = PoseTracker(PoseTrackerSettings(max_people=max_people))
    return replace(clip, frames=tuple(track(zip(clip.times_s, clip.frames, strict=True), tracker)))


def _scaled(settings: AnalysisSettings, clip: Clip, length: KnownLength) -> AnalysisSettings:
    """Take the scale from the person seen longest."""
    series = series_from_poses(clip.frames, clip.times_s)
    if not series:
        return settings
    scale = scale_from_length(max(series, key=len), length.first, length.second, length.metres)
    return replace(settings, metres_per_px=scale.metres_per_px)


def _notes(settings: AnalysisSettings) -> list[str]:
    repair = "outliers and exchanged sides repaired" if settings.repair else "nothing repaired"
    done = f"Smoothed by {settings.smoothing.method}; gaps up to {settings.gaps_s:g} s filled; {repair}."
    plane = "Angles are those seen in the picture: a limb that points towards the camera looks shorter."
    notes = [done, plane, "Bands and sd are one standard deviation, modelled from the keypoints' scores."]
    if settings.metres_per_px is not None:
        notes.append(f"Scale {settings.metres_per_px:.5f} m a pixel, in the plane of the known length only.")
    return notes
