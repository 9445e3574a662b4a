"""``vitpose predict``: pictures and films in, poses out."""

import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitpose.cli.alternative import embedded_instead
from vitpose.cli.progress import Reporter, count
from vitpose.cli.values import numbers
from vitpose.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from vitpose.detectors.given import GivenBoxes
    from vitpose.media.sources import Source
    from vitpose.motion.preset import Preset
    from vitpose.pipeline.estimator import PoseEstimator
    from vitpose.pipeline.measure import Measurement
    from vitpose.pipeline.purpose import Purpose
    from vitpose.pipeline.summary import Failure, Summary
    from vitpose.pipeline.video_options import VideoOptions

DEFAULT_MODEL = "auto"
"""The published default where it is to be had, else the model that comes with the package."""

_SOURCES = typer.Argument(
    help="Pictures, folders, globs, .txt lists, URLs, videos, shots/%05d.jpg, rtsp://..., webcam:0.", show_default=False
)
_FILMS = "Films"


def predict(
    sources: Annotated[list[str], _SOURCES],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Name from `vitpose models`, hub id, file or folder, random:NAME."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Head of a model with several, for instance ap10k for animals.")
    ] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="Skeleton name or .toml file, where the weights do not say.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Use case: sports, fitness, mocap, ar_vr, surveillance, healthcare; or a .toml file."),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="auto, whole (the picture is the box), embedded, or a Hugging Face detector's id or folder."),
    ] = "auto",
    boxes: Annotated[
        Path | None, typer.Option(help="Boxes from a file instead of a detector: COCO JSON, {file: \\[xyxy]} or CSV.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="What to look for, for instance dog,horse,cow.")] = None,
    box_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Score a box needs; 0.3 for a detector, all boxes of a file.")
    ] = None,
    max_people: Annotated[
        int | None, typer.Option(min=1, help="People at most: best boxes of a picture, ids in a film.")
    ] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="Keypoint score that counts as seen: 0.3, or left_wrist=0.5; repeatable.")
    ] = None,
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored crop.")] = False,
    refine: Annotated[bool, typer.Option("--refine", help="Second pass on the box of the first pose.")] = False,
    scales: Annotated[
        str, typer.Option(help="Look at everybody at several scales, e.g. 0.8,1,1.25: very small or large people.")
    ] = "1",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, eager, compiled, onnxruntime, openvino.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a model call.")] = 32,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Take sub-folders too.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("poses"),
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="Any of json, overlay, coco, csv, parquet, of films also coco-video, openpose, skeletons, motion, with"
            " commas between; or none. \\[default: json,overlay]",
        ),
    ] = None,
    blur_faces: Annotated[
        bool, typer.Option("--blur-faces", help="Make faces unrecognisable in every picture and film written.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a picture on stdout.")] = False,
    start: Annotated[str, typer.Option(help="Begin at this time: seconds or h:mm:ss.", rich_help_panel=_FILMS)] = "0",
    end: Annotated[str | None, typer.Option(help="Stop before this time.", rich_help_panel=_FILMS)] = None,
    stride: Annotated[int, typer.Option(min=1, help="Take every so-many-th frame.", rich_help_panel=_FILMS)] = 1,
    detect_every: Annotated[
        int,
        typer.Option(min=1, help="Detect in every so-many-th frame and where a pose is lost.", rich_help_panel=_FILMS),
    ] = 1,
    tracker: Annotated[
        str | None, typer.Option(help="Who is who: pose, none, or a box tracker.", rich_help_panel=_FILMS)
    ] = None,
    smooth: Annotated[
        str | None,
        typer.Option(help="online, offline, none, or a method; raw points stay beside.", rich_help_panel=_FILMS),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="A folder's or pattern's pictures are one film, so many a second.", rich_help_panel=_FILMS
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run that was killed broke off.", rich_help_panel=_FILMS)
    ] = False,
) -> None:
    """Find the people (or animals) in pictures and films and the keypoints of each."""
    # First of all, for loading takes seconds: a container that is stopped keeps what is finished, and says 130.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from vitpose.pipeline.options import Options
    from vitpose.pipeline.purpose import Wishes, combine

    said = Wishes(
        model=model,
        threshold=_thresholds(threshold),
        tracker=tracker,
        max_people=max_people,
        smoothing=smooth,
        formats=None if format_ is None else _formats(format_),
    )
    purpose, live = (combine(said, _preset(preset), live=goes_by) for goes_by in (False, True))
    if boxes is not None and (detector != "auto" or max_people is not None):
        raise UsageError("--boxes brings its own boxes: leave out --detector and --max-people")
    span = _seconds(start, "--start"), None if end is None else _seconds(end, "--end"), stride
    sizes = Options(scales=numbers(scales, "--scales")).scales
    # Slow imports come after the arguments are known to be sound.
    from vitpose.pipeline.predict import predict_sources
    from vitpose.pipeline.summary import Listeners

    found, missing = _expand(sources, recursive=recursive, as_film=fps is not None, as_json=as_json)
    films = [source for source in found if source.kind in ("video", "sequence", "stream")]
    wanted = [name.strip() for name in classes.split(",")] if classes else None
    given = None if boxes is None else _given(boxes, wanted, box_threshold, found)
    video = _video(purpose, live, span, films, fps, detect_every=detect_every, resume=resume)
    estimator = _loaded(
        purpose.model or DEFAULT_MODEL,
        dataset,
        skeleton=skeleton,
        detector=None if given is not None else detector,
        engine=engine,
        device=device,
        flip_test=flip_test,
        refine=refine,
        classes=wanted,
        box_threshold=0.3 if box_threshold is None else box_threshold,
        # With films the tracker keeps to it; and who is not among them is hidden before he is left out.
        max_people=None if films or blur_faces else purpose.max_people,
        batch_size=batch_size,
        scales=sizes,
    )
    estimator = _fitting(estimator, purpose, measured=bool(films) and purpose.measured)
    with Reporter(found, as_json=as_json) as reporter:
        for failure in missing:
            reporter.failure(failure)
        summary = predict_sources(
            estimator,
            found,
            out=out if purpose.formats else None,
            formats=purpose.formats,
            given=given,
            video=video,
            max_people=purpose.max_people,
            blur_faces=blur_faces,
            listeners=Listeners(result=reporter.result, failure=reporter.failure, frame=reporter.frame),
        )
    summary.failures[:0] = missing
    _finish(summary, out if purpose.formats else None)


def _loaded(model: str, dataset: str | None, **choices: Any) -> "PoseEstimator":
    from vitpose.pipeline.assemble import load

    with embedded_instead(model, dataset):
        return load(model, dataset=dataset, **choices)


def _report_missing(missing: "list[Failure]", *, as_json: bool) -> None:
    """Say what is not there; nothing is loaded for that."""
    from vitpose.pipeline.summary import Summary

    with Reporter([], as_json=as_json) as reporter:
        for failure in missing:
            reporter.failure(failure)
    _finish(Summary(failures=list(missing)), None)


def _expand(texts: list[str], *, recursive: bool, as_film: bool, as_json: bool) -> "tuple[list[Source], list[Failure]]":
    """Return the sources, and those that are missing, which do not stop the others; with none, the run is over."""
    from vitpose.media.sources import expand_sources
    from vitpose.pipeline.summary import Failure

    missing: list[Failure] = []

    def pass_over(text: str, error: InputError) -> None:
        missing.append(Failure(text, str(error)))

    found = expand_sources(texts, recursive=recursive, as_video=as_film, missing=pass_over)
    if not found:
        _report_missing(missing, as_json=as_json)
    return found, missing


def _given(path: Path, classes: list[str] | None, threshold: float | None, sources: "Sequence[Source]") -> "GivenBoxes":
    from vitpose.detectors.given import GivenBoxes

    given = GivenBoxes.from_file(path, classes=classes, threshold=threshold or 0.0)
    if sources:
        given.check_sources([source.location for source in sources])
    return given


def _preset(name: str | None) -> "Preset | None":
    if name is None:
        return None
    from vitpose.motion.preset import load_preset

    return load_preset(name)


def _fitting(estimator: "PoseEstimator", purpose: "Purpose", *, measured: bool) -> "PoseEstimator":
    """Set the thresholds of the skeleton that was loaded, and refuse one that has no angles before the work begins."""
    if measured:
        from vitpose.motion.angle_list import default_angles

        default_angles(estimator.skeleton)
    return estimator.with_options(threshold=purpose.threshold(estimator.skeleton))


def _video(
    purpose: "Purpose",
    live: "Purpose",
    span: tuple[float, float | None, int],
    films: "Sequence[Source]",
    fps: float | None,
    *,
    detect_every: int,
    resume: bool,
) -> "VideoOptions | None":
    """Return what is done with films; what cannot be is refused before weights are loaded."""
    if not films:
        if span != (0.0, None, 1) or resume or detect_every != 1:
            typer.echo("no source is a film: --start, --end, --stride and the like change nothing", err=True)
        return None
    from vitpose.media.frames import Span
    from vitpose.pipeline.following import make_tracker
    from vitpose.pipeline.video_options import VideoOptions

    make_tracker(purpose.tracker, max_people=purpose.max_people)
    if fps is None and any(source.kind == "sequence" for source in films):
        raise UsageError("pictures carry no times: say with --fps how many there are a second")
    return VideoOptions(
        detect_every=detect_every,
        tracker=purpose.tracker,
        max_people=purpose.max_people,
        smoothing=purpose.smoothing,
        live_smoothing=live.smoothing,
        resume=resume,
        span=Span(*span),
        rate=fps,
        measurement=_measurement(purpose),
    )


def _measurement(purpose: "Purpose") -> "Measurement | None":
    if not purpose.measured:
        return None
    from vitpose.core.extras import require
    from vitpose.pipeline.measure import Measurement, preset_analysis

    require("matplotlib", "video", "plots of motion")  # before the films are looked at, not after
    return Measurement(settings=preset_analysis(purpose.preset), max_people=purpose.max_people)


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if chosen == ("none",):
        return ()
    if "none" in chosen:
        raise UsageError(f"--format {text!r}: none writes nothing, so it stands alone: leave it out, or the others")
    if not chosen:
        raise UsageError("--format names no format: give some, for instance json,overlay, or none to write nothing")
    return chosen


def _seconds(text: str, option: str) -> float:
    """Read ``90``, ``1:30`` or ``0:01:30.5``."""
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or not all(math.isfinite(part) and part >= 0 for part in parts):
        raise UsageError(f"{option} {text!r}: give seconds, for instance 90.5, or h:m:s, for instance 0:01:30.5")
    return math.fsum(part * 60.0**power for power, part in enumerate(reversed(parts)))


def _thresholds(texts: list[str] | None) -> float | Mapping[str, float] | None:
    """Read ``["0.3", "left_wrist=0.5"]`` as a default and exceptions by keypoint name."""
    if not texts:
        return None
    values: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            values[name or "*"] = float(number)
        except ValueError:
            raise UsageError(f"threshold {text!r} is neither a number nor NAME=NUMBER") from None
    return values if set(values) - {"*"} else values["*"]


def _finish(summary: "Summary", out: Path | None) -> None:
    where = f" -> {out}/" if out is not None else ""
    done = [
        count(number, what) for number, what in ((summary.pictures, "picture"), (summary.frames, "frame")) if number
    ]
    typer.echo(f"{', '.join(done or ['0 pictures'])}, {count(summary.people, 'pose')}{where}", err=True)
    if summary.failures:
        typer.echo(f"{len(summary.failures)} failed, named above", err=True)
    if summary.interrupted:
        typer.echo("interrupted: what was finished until then is written", err=True)
        raise typer.Exit(130)
    if summary.failures:
        raise typer.Exit(4 if summary.pictures or summary.frames else InputError.exit_code)
