"""Films among other sources: each has its own files, and one that fails does not stop the others."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from moving_blocks import SIZE, WALKERS, block_estimator, draw, files_in
from PIL import Image

from vitpose.core.errors import UsageError
from vitpose.formats.film import read_frames_of
from vitpose.media.frames import Span
from vitpose.media.sources import expand_sources
from vitpose.media.video import VideoFile
from vitpose.pipeline.predict import predict_sources
from vitpose.pipeline.summary import Failure, Listeners
from vitpose.pipeline.video_options import VideoOptions

av = pytest.importorskip("av")


def make_film(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = SIZE.width, SIZE.height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for t in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(WALKERS, t), format="rgb24")
            frame.pts, frame.time_base = 4 * t + t % 2, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two films, one that is none, and pictures before, between and after them."""
    make_film(tmp_path / "b.mp4", 40)
    make_film(tmp_path / "d.mp4", 20)
    (tmp_path / "c.mp4").write_bytes(b"not a film")
    for name in ("a.png", "e.png"):
        Image.fromarray(draw(WALKERS, 30)).save(tmp_path / name)
    return tmp_path


def test_films_and_pictures_in_one_run(place: Path) -> None:
    told: list[str] = []
    failures: list[Failure] = []
    listeners = Listeners(result=lambda origin, _: told.append(origin.name), failure=failures.append)
    summary = predict_sources(
        block_estimator(),
        expand_sources([place]),
        out=place / "out",
        formats=("json", "overlay", "csv", "coco"),
        listeners=listeners,
    )
    assert told == ["a", *["b"] * 40, *["d"] * 20, "e"]
    assert [Path(one.source).name for one in failures] == ["c.mp4"]
    assert summary.failures == failures
    names = set(files_in(place / "out"))
    pictures = {"a.json", "a.overlay.jpg", "e.json", "e.overlay.jpg", "poses.csv", "coco_results.json"}
    films = {f"{name}.{ending}" for name in "bd" for ending in ("jsonl", "mp4", "csv", "coco.json", "run.json")}
    assert names == pictures | films


def test_pictures_beside_a_film_keep_as_many_people(place: Path) -> None:
    found: dict[str, int] = {}
    predict_sources(
        block_estimator(),
        expand_sources([place]),
        video=VideoOptions(max_people=1),
        listeners=Listeners(result=lambda origin, poses: found.update({origin.name: len(poses)})),
    )
    everybody: dict[str, int] = {}
    pictures = [source for source in expand_sources([place]) if source.kind == "image"]
    count = Listeners(result=lambda origin, poses: everybody.update({origin.name: len(poses)}))
    predict_sources(block_estimator(), pictures, listeners=count)
    assert max(everybody.values()) > 1
    assert {name: found[name] for name in everybody} == {name: min(people, 1) for name, people in everybody.items()}


def test_times_and_pixels_are_the_films(place: Path) -> None:
    predict_sources(
        block_estimator(), expand_sources([place / "b.mp4"]), out=place / "out", formats=("json", "overlay")
    )
    given = list(VideoFile(place / "b.mp4").frames())
    found = list(read_frames_of(place / "out" / "b.jsonl"))
    drawn = list(VideoFile(place / "out" / "b.mp4").frames())
    assert [one.frame for one in found] == [one.index for one in given]
    assert [one.time_s for one in found] == [one.time_s for one in given]
    assert [one.time_s for one in drawn] == pytest.approx([one.time_s for one in given], abs=1e-3)
    difference = np.abs(drawn[0].image.astype(int) - given[0].image)
    assert 0.001 < (difference > 60).mean() < 0.2, "something is drawn on the film's own picture"


def test_a_part_of_a_film(place: Path) -> None:
    options = VideoOptions(span=Span(0.5, 1.2, 3))
    summary = predict_sources(
        block_estimator(), expand_sources([place / "b.mp4"]), out=place / "out", formats=("json",), video=options
    )
    frames = [one.frame for one in read_frames_of(place / "out" / "b.jsonl")]
    every = VideoFile(place / "b.mp4").frames()
    assert frames == [one.index for one in every if 0.5 <= one.time_s < 1.2 and one.index % 3 == 0]
    assert len(frames) > 3
    assert summary.frames == len(frames)


def test_a_folder_of_films_goes_on_where_it_broke_off(place: Path) -> None:
    sources = expand_sources([place / "b.mp4", place / "d.mp4"])
    options = VideoOptions(resume=True)
    whole = predict_sources(block_estimator(), sources, out=place / "whole", formats=("json", "overlay"), video=options)

    def stop(frame: object, _: object) -> None:
        if frame.index == 25:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    cut = predict_sources(
        block_estimator(),
        sources,
        out=place / "cut",
        formats=("json", "overlay"),
        video=options,
        listeners=Listeners(frame=stop),
    )
    assert cut.interrupted
    assert not (place / "cut" / "d.jsonl").exists()
    again = predict_sources(block_estimator(), sources, out=place / "cut", formats=("json", "overlay"), video=options)
    assert (again.frames, again.people) == (whole.frames, whole.people) == (60, whole.people)
    assert files_in(place / "cut") == files_in(place / "whole")
    other = replace(options, detect_every=3)
    with pytest.raises(UsageError, match="detect_every"):
        predict_sources(block_estimator(), sources, out=place / "cut", formats=("json", "overlay"), video=other)


def test_another_film_of_the_same_name_is_not_gone_on_with(place: Path) -> None:
    sources = expand_sources([place / "b.mp4"])
    predict_sources(block_estimator(), sources, out=place / "out", formats=("json",))
    make_film(place / "b.mp4", 41)
    with pytest.raises(UsageError, match="another film"):
        predict_sources(
            block_estimator(), sources, out=place / "out", formats=("json",), video=VideoOptions(resume=True)
        )


@pytest.mark.parametrize("formats", [("json",), ("csv",)])
def test_somebody_elses_lines_are_not_written_over(place: Path, formats: tuple[str, ...]) -> None:
    """Whatever the format, a film's journal stands at ``NAME.jsonl`` for a while."""
    labels = place / "b.jsonl"
    labels.write_text('{"mine": 1}\n')
    sources = expand_sources([place / "b.mp4"])
    with pytest.raises(UsageError, match="not a result of this command"):
        predict_sources(block_estimator(), sources, out=place, formats=formats)
    assert labels.read_text() == '{"mine": 1}\n'


def test_formats_of_films_alone_are_refused_for_pictures_alone(place: Path) -> None:
    options = {"out": place / "out", "formats": ("openpose", "skeletons")}
    with pytest.raises(UsageError, match="only films are written as openpose, skeletons"):
        predict_sources(block_estimator(), expand_sources([place / "a.png"]), **options)
    summary = predict_sources(block_estimator(), expand_sources([place / "a.png", place / "d.mp4"]), **options)
    assert (summary.pictures, summary.frames) == (1, 20)


def test_a_film_is_not_written_over(place: Path) -> None:
    with pytest.raises(UsageError, match="would be overwritten"):
        predict_sources(block_estimator(), expand_sources([place / "b.mp4"]), out=place, formats=("overlay",))
