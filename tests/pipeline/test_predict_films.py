"""Films among other sources: each has its own files, and one that fails does not stop the others."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from moving_blocks import SIZE, WALKERS, Blocks, block_estimator, draw, files_in
from PIL import Image

from vitpose.core.errors import InputError, UsageError
from vitpose.detectors.given import GivenBoxes
from vitpose.formats.film import read_frames_of
from vitpose.media.frames import Span
from vitpose.media.sources import Source, expand_sources
from vitpose.media.video import VideoFile
from vitpose.motion.settings import SmoothingSettings
from vitpose.pipeline import predict
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
        max_people=1,
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


def test_somebody_elses_lines_are_not_written_over(place: Path) -> None:
    labels = place / "b.jsonl"
    labels.write_text('{"mine": 1}\n')
    sources = expand_sources([place / "b.mp4"])
    with pytest.raises(UsageError, match="not a result of this command"):
        predict_sources(block_estimator(), sources, out=place, formats=("json",))
    predict_sources(block_estimator(), sources, out=place, formats=("csv",))
    assert labels.read_text() == '{"mine": 1}\n'


def test_results_beside_the_films_do_not_make_films_results(place: Path) -> None:
    """The source is found again, and what was drawn of it is not a source."""
    (place / "own").mkdir()
    for name in ("b.mp4", "d.mp4"):
        (place / name).rename(place / "own" / name)
    sources = expand_sources([place / "own"])
    predict_sources(block_estimator(), sources, out=place / "own", formats=("json",))
    assert expand_sources([place / "own"]) == sources
    predict_sources(block_estimator(), sources, out=place / "out", formats=("overlay",))
    with pytest.raises(InputError, match="holds no pictures and no videos"):
        expand_sources([place / "out"])
    run = place / "out" / "b.run.json"
    begun = json.loads(run.read_text())
    del begun["drawn"]
    run.write_text(json.dumps(begun | {"complete": False}))
    with pytest.raises(InputError, match="holds no pictures and no videos"):
        expand_sources([place / "out"])


def test_a_later_film_that_does_not_go_on_stops_no_others(place: Path) -> None:
    sources = expand_sources([place / name for name in ("a.png", "b.mp4", "d.mp4")])
    options = VideoOptions(resume=True)
    run = {"out": place / "out", "formats": ("json",), "video": options}
    predict_sources(block_estimator(), sources, **run)
    make_film(place / "b.mp4", 41)
    summary = predict_sources(block_estimator(), sources, **run)
    assert [Path(one.source).name for one in summary.failures] == ["b.mp4"]
    assert "another film" in summary.failures[0].message
    assert (summary.pictures, summary.frames) == (1, 20)


def test_who_is_not_among_those_kept_is_hidden_all_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[int] = []
    monkeypatch.setattr(predict, "_faceless", lambda image, poses: (hidden.append(len(poses)), image)[1])
    kept: list[int] = []
    predict_sources(
        block_estimator(),
        expand_sources([place / "a.png"]),
        out=place / "out",
        formats=("overlay",),
        max_people=1,
        blur_faces=True,
        listeners=Listeners(result=lambda _, poses: kept.append(len(poses))),
    )
    assert kept == [1]
    assert hidden[0] > 1


def test_what_goes_by_is_smoothed_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One camera among the sources changes nothing for the films beside it."""
    at_once, afterwards = SmoothingSettings(method="kalman"), SmoothingSettings(method="butterworth")
    sources = [Source("video", "film", "film"), Source("stream", "webcam:0", "camera")]
    opened = {"film": Blocks(20), "webcam:0": Blocks(20, live=True)}
    monkeypatch.setattr("vitpose.media.video.open_frames", lambda source, *_, **__: opened[source.location])
    options = VideoOptions(smoothing=afterwards, live_smoothing=at_once)
    predict_sources(block_estimator(), sources, out=tmp_path, formats=("json",), video=options)
    found = {name: json.loads((tmp_path / f"{name}.run.json").read_text()) for name in ("film", "camera")}
    methods = {name: run["identity"]["options"]["smoothing"]["method"] for name, run in found.items()}
    assert methods == {"film": "butterworth", "camera": "kalman"}
    with pytest.raises(UsageError, match="a live source has gone by then"):
        predict_sources(block_estimator(), sources[1:], out=tmp_path / "b", video=VideoOptions(smoothing=afterwards))


def test_names_of_pictures_stay_apart_from_those_of_files_about_everything(place: Path) -> None:
    for name in ("Poses.png", "poses-picture.png", "coco_results.png"):
        shutil.copy(place / "a.png", place / name)
    sources = expand_sources([place / name for name in ("Poses.png", "poses-picture.png", "coco_results.png")])
    summary = predict_sources(block_estimator(), sources, out=place / "out", formats=("json", "csv", "coco"))
    assert summary.pictures == 3
    assert set(files_in(place / "out")) == {
        "Poses-picture-2.json", "poses-picture.json", "coco_results-picture.json", "poses.csv", "coco_results.json",
    }  # fmt: skip


def test_pictures_a_box_file_does_not_know_take_no_ids_away(place: Path) -> None:
    known = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    known["annotations"] = [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 5, 30, 30]}]
    (place / "boxes.json").write_text(json.dumps(known))
    sources = expand_sources([place / "a.png", place / "e.png"])
    given = GivenBoxes.from_file(place / "boxes.json")
    predict_sources(block_estimator(), sources, out=place / "out", formats=("coco",), given=given)
    entries = json.loads((place / "out" / "coco_results.json").read_text())
    assert [entry["image_id"] for entry in entries] == [7]


def test_a_table_of_categories_goes_with_the_results_it_is_of(place: Path) -> None:
    def boxes_of(label: str) -> GivenBoxes:
        table = {"images": [{"id": 7, "file_name": "a.png"}], "categories": [{"id": 1, "name": label}]}
        table["annotations"] = [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [5, 5, 30, 30]}]
        (place / "boxes.json").write_text(json.dumps(table))
        return GivenBoxes.from_file(place / "boxes.json")

    out = place / "out"
    run = {"out": out, "formats": ("coco",)}
    predict_sources(block_estimator(), expand_sources([place / "a.png"]), given=boxes_of("dog"), **run)
    assert json.loads((out / "coco_categories.json").read_text()) == [{"id": 18, "name": "dog"}]
    (out / "coco_results.json").unlink()
    predict_sources(block_estimator(), expand_sources([place / "a.png"]), given=boxes_of("dog"), **run)
    predict_sources(block_estimator(), expand_sources([place / "a.png"]), given=boxes_of("person"), **run)
    assert set(files_in(out)) == {"coco_results.json"}


def test_rows_of_many_pictures_share_a_group(place: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for number in range(12):
        shutil.copy(place / "a.png", place / f"n{number}.png")
    sources = expand_sources([place / "n*.png"])
    predict_sources(block_estimator(), sources, out=place / "out", formats=("parquet", "csv"))
    table = parquet.ParquetFile(place / "out" / "poses.parquet")
    assert table.num_row_groups == 1
    assert table.metadata.num_rows == len((place / "out" / "poses.csv").read_text().splitlines()) - 1 > 12


def test_formats_of_films_alone_are_refused_for_pictures_alone(place: Path) -> None:
    options = {"out": place / "out", "formats": ("openpose", "skeletons")}
    with pytest.raises(UsageError, match="only films are written as openpose, skeletons"):
        predict_sources(block_estimator(), expand_sources([place / "a.png"]), **options)
    summary = predict_sources(block_estimator(), expand_sources([place / "a.png", place / "d.mp4"]), **options)
    assert (summary.pictures, summary.frames) == (1, 20)


def test_a_film_is_not_written_over(place: Path) -> None:
    with pytest.raises(UsageError, match="would be overwritten"):
        predict_sources(block_estimator(), expand_sources([place / "b.mp4"]), out=place, formats=("overlay",))
