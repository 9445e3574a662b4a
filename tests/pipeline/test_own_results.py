"""Results of ours may be written over, everything else stays: whatever the format, and whichever way leads there."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from moving_blocks import SIZE, WALKERS, Blocks, block_estimator, draw, files_in
from PIL import Image

from vitpose.core.errors import UsageError, VitPoseError
from vitpose.detectors.given import GivenBoxes
from vitpose.media.sources import expand_sources
from vitpose.motion.report import write_report
from vitpose.motion.tables import write_tables
from vitpose.pipeline.film_output import FilmFiles
from vitpose.pipeline.own_results import Claim
from vitpose.pipeline.predict import predict_sources
from vitpose.pipeline.stream import predict_video
from vitpose.pipeline.video_options import VideoOptions

av = pytest.importorskip("av")

PICTURES = ("json", "overlay", "coco", "csv", "parquet")
FILMS = ("json", "overlay", "coco", "csv", "parquet", "openpose", "skeletons")


def make_film(path: Path, frames: int = 6) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIZE.width, SIZE.height, "yuv420p"
        for t in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(WALKERS, t), format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    make_film(tmp_path / "in" / "clip.mov")
    Image.fromarray(draw(WALKERS, 30)).save(tmp_path / "in" / "photo.png")
    return tmp_path


def predict(place: Path, name: str, formats: tuple[str, ...], **more: object) -> None:
    sources = expand_sources([place / "in" / name])
    predict_sources(block_estimator(), sources, out=place / "out", formats=formats, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "formats"), [("photo.png", PICTURES), ("clip.mov", FILMS)])
def test_results_of_an_earlier_run_are_renewed(place: Path, name: str, formats: tuple[str, ...]) -> None:
    predict(place, name, formats)
    first = files_in(place / "out")
    for path in (place / "out").rglob("*"):
        assert not path.name.startswith(".")
    predict(place, name, formats)
    assert files_in(place / "out") == first
    for one in formats:
        predict(place, name, (one,))


def film_bytes(folder: Path) -> bytes:
    return make_film(folder / "own.mp4").read_bytes()


OWN = {
    "photo.json": b'{"labels": "mine"}',
    "photo.overlay.jpg": b"\xff\xd8\xff\xe0 mine",
    "coco_results.json": b'[{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 1], "score": 0.5}]',
    "coco_categories.json": b'[{"id": 1, "name": "person"}]',
    "poses.csv": b"name,x,y\nme,1,2\n",
    "poses.parquet": b"PAR1 mine PAR1",
    "clip.jsonl": b'{"mine": 1}\n',
    "clip.partial.jsonl": b'{"mine": 1}\n',
    "clip.smoothed.jsonl": b'{"mine": 1}\n',
    "clip.run.json": b'{"distance_km": 10}',
    "clip.mp4": b"a film",
    "clip.partial.mp4": b"a film",
    "clip.parts/film.mp4": b"a film",
    "clip.csv": b"frame,x,y\n1,2,3\n",
    "clip.parquet": b"mine",
    "clip.coco.json": b'{"info": {"description": "mine"}, "images": []}',
    "clip.npz": b"PK mine",
    "clip.openpose.json": b'{"mine": 1}',
    "clip/clip_000000000000_keypoints.json": b'{"version":1.3,"people":[]}',
}


@pytest.mark.parametrize("name", OWN)
def test_a_file_of_the_users_is_named_and_nothing_is_begun(place: Path, name: str) -> None:
    path = place / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(film_bytes(place) if name.endswith("p.mp4") else OWN[name])
    before = files_in(place / "out")
    source, formats = ("clip.mov", FILMS) if name.startswith("clip") else ("photo.png", PICTURES)
    with pytest.raises(UsageError, match=r"exists and is not a result of this command: choose another .*--out") as told:
        predict(place, source, formats)
    assert str(path) in str(told.value)
    assert files_in(place / "out") == before


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith("clip")])
def test_the_same_from_python(place: Path, name: str) -> None:
    path = place / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(OWN[name])
    formats = tuple("coco-video" if one == "coco" else one for one in FILMS)
    with pytest.raises(UsageError, match="exists and is not a result"):
        predict_video(
            block_estimator(), Blocks(5), out=place / "out", name="clip", options=VideoOptions(formats=formats)
        )
    assert files_in(place / "out") == {name: OWN[name]}


def test_files_that_no_format_of_the_run_writes_are_no_hindrance(place: Path) -> None:
    for name in ("clip.mp4", "clip.csv", "photo.overlay.jpg", "poses.csv", "clip.motion/report.html"):
        (place / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "out" / name).write_bytes(b"mine")
    before = files_in(place / "out")
    predict(place, "clip.mov", ("json",))
    predict(place, "photo.png", ("json", "coco"))
    assert files_in(place / "out").items() >= before.items()


def test_a_film_put_beside_a_run_that_made_none_is_the_users(place: Path) -> None:
    predict(place, "clip.mov", ("json",))
    (place / "out" / "clip.partial.mp4").write_bytes(b"half a download")
    with pytest.raises(UsageError, match=r"clip\.partial\.mp4 exists"):
        predict(place, "clip.mov", ("json", "overlay"))


def test_an_unmarked_film_that_a_run_has_noted_is_ours(place: Path) -> None:
    predict(place, "clip.mov", ("json", "overlay"))
    film = place / "out" / "clip.mp4"
    film.write_bytes(film_bytes(place))
    predict(place, "clip.mov", ("json", "overlay"))
    with av.open(str(film)) as container:
        assert container.metadata["comment"] == "Poses drawn by vitpose"


def test_a_source_is_known_by_what_it_is_and_not_by_its_path(place: Path) -> None:
    predict(place, "photo.png", ("overlay",))
    picture = place / "out" / "photo.overlay.jpg"
    picture.rename(place / "in" / "x.overlay.jpg")
    (place / "in" / "x.png").write_bytes((place / "in" / "photo.png").read_bytes())
    (place / "link").symlink_to(place / "in")
    sources = expand_sources([place / "in" / "x.png", place / "in" / "x.overlay.jpg"])
    for out in (place / "link", place / "out" / ".." / "in"):
        with pytest.raises(UsageError, match="is a source and would be overwritten"):
            predict_sources(block_estimator(), sources, out=out, formats=("overlay",))


def test_a_box_file_is_read_and_so_not_written_over(place: Path) -> None:
    predict(place, "photo.png", ("coco",))
    given = GivenBoxes.from_file(place / "out" / "coco_results.json")
    with pytest.raises(UsageError, match=r"coco_results\.json is a source"):
        predict(place, "photo.png", ("coco",), given=given)


def test_what_is_no_file_is_nobodys_result(place: Path) -> None:
    (place / "out" / "photo.json").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"photo\.json exists"):
        predict(place, "photo.png", ("json",))
    (place / "out" / "clip").write_bytes(b"mine")
    with pytest.raises(UsageError, match="clip exists"):
        predict(place, "clip.mov", ("openpose",))


def test_what_cannot_be_read_is_not_written_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "out").mkdir()
    (place / "out" / "photo.json").write_bytes(b"secret")
    real = Path.open

    def refuse(path: Path, *arguments: object) -> object:
        if path.name == "photo.json":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        VitPoseError, match=r"photo\.json cannot be read \(Permission denied\), so it is not written over"
    ):
        predict(place, "photo.png", ("json",))


def test_results_of_measuring(tmp_path: Path) -> None:
    files, folder = FilmFiles(tmp_path, "clip"), tmp_path / "clip.motion"
    write_tables([], folder, "csv")
    write_report([], folder / "report.html", source="clip")
    Claim().film(files, ("json",), measured=True)
    for name in ("summary.csv", "angles.csv", "keypoints.csv", "events.csv", "report.html"):
        ours = (folder / name).read_bytes()
        (folder / name).write_bytes(b"mine")
        with pytest.raises(UsageError, match=name.replace(".", r"\.")):
            Claim().film(files, ("json",), measured=True)
        Claim().film(files, ("json",))
        (folder / name).write_bytes(ours)


def test_results_that_an_evaluation_would_load_keep_their_layout(place: Path) -> None:
    """The mark of the results of all pictures is their layout, so it is written down here."""
    predict(place, "photo.png", ("coco", "csv"))
    text = (place / "out" / "coco_results.json").read_text()
    assert text.startswith('[\n{"image_id": ')
    assert all(set(entry) >= {"image_id", "category_id", "keypoints", "score"} for entry in json.loads(text))
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(place / "in" / "photo.png")
    predict(place, "photo.png", ("coco", "csv"))
    assert (place / "out" / "coco_results.json").read_text() == "[]\n"
    predict(place, "photo.png", ("coco", "csv"))
