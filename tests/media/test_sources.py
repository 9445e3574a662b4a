"""What users type becomes a flat list in a natural order, and no two results can overwrite each other."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitpose.core.errors import InputError
from vitpose.media.sources import expand_sources, natural_key


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(sources):
    return [source.name for source in sources]


def test_files_are_taken_by_their_suffix(tmp_path):
    touch(tmp_path, "a.jpg", "b.MP4", "c", "d.heic")
    found = expand_sources([tmp_path / "a.jpg", str(tmp_path / "b.MP4"), str(tmp_path / "c"), str(tmp_path / "d.heic")])
    assert [source.kind for source in found] == ["image", "video", "image", "image"]
    assert names(found) == ["a", "b", "c", "d"]
    assert found[0].location == str(tmp_path / "a.jpg")


def test_a_folder_gives_its_pictures_and_videos_in_natural_order(tmp_path, caplog):
    touch(tmp_path, "f10.png", "f2.PNG", "f1.jpg", "clip.mov", "notes.csv", "x.json", ".hidden.jpg", "sub/z.jpg")
    with caplog.at_level(logging.WARNING):
        found = expand_sources([str(tmp_path)])
    assert names(found) == ["clip", "f1", "f2", "f10"]
    assert found[0].kind == "video"
    assert "2 files that are not pictures or videos" in caplog.text


def test_sub_folders_are_searched_on_request_and_kept_in_the_names(tmp_path):
    touch(tmp_path, "b/x.jpg", "a/x.jpg", "x.jpg", ".git/x.jpg")
    assert names(expand_sources([tmp_path])) == ["x"]
    assert names(expand_sources([tmp_path], recursive=True)) == ["a/x", "b/x", "x"]


def test_globs(tmp_path):
    touch(tmp_path, "f10.jpg", "f2.jpg", "g.txt", "sub/f3.jpg", "sub/n.npy")
    assert names(expand_sources([f"{tmp_path}/f*"])) == ["f2", "f10"]
    assert names(expand_sources([f"{tmp_path}/**/*"])) == ["f2", "f10", "f3"]
    with pytest.raises(InputError, match=r"matches no pictures"):
        expand_sources([f"{tmp_path}/*.png"])


def test_a_file_with_brackets_in_its_name_is_a_file(tmp_path):
    touch(tmp_path, "me [1].jpg")
    assert names(expand_sources([tmp_path / "me [1].jpg"])) == ["me [1]"]


def test_list_files_are_relative_to_themselves(tmp_path):
    touch(tmp_path, "pics/a.jpg", "pics/b #2.jpg", "clip.mp4")
    listing = tmp_path / "lists" / "all.txt"
    listing.parent.mkdir()
    lines = ["# comment", "", "../pics/a.jpg", "  ../pics/b #2.jpg  ", str(tmp_path / "clip.mp4"), "http://host/u.png"]
    listing.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    found = expand_sources([listing])
    assert names(found) == ["a", "b #2", "clip", "u"]
    assert [source.kind for source in found] == ["image", "image", "video", "url"]
    assert all(source.kind == "url" or Path(source.location).is_file() for source in found)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "lists nothing"),
        ("# only\n\n", "lists nothing"),
        ("a.jpg\nnone.jpg", "line 2"),
        ("all.txt", "another list"),
    ],
)
def test_bad_lists_name_the_line(tmp_path, content, words):
    touch(tmp_path, "a.jpg")
    (tmp_path / "all.txt").write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        expand_sources([tmp_path / "all.txt"])
    assert "all.txt" in str(caught.value)


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "all.txt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"all\.txt cannot be read as a list"):
        expand_sources([tmp_path / "all.txt"])


def test_what_is_missing_or_empty_is_named(tmp_path):
    touch(tmp_path, "deep/er/a.jpg", "texts/a.md")
    (tmp_path / "empty").mkdir()
    for name, words in [
        ("none.jpg", "does not exist"),
        ("empty", "holds no pictures and no videos"),
        ("texts", "holds no pictures and no videos"),
        ("deep", r"sub-folders add --recursive, or give '.*/\*\*/\*'"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            expand_sources([str(tmp_path / name)])
        assert str(tmp_path / name) in str(caught.value)
    for nothing in ([], [""]):
        with pytest.raises(InputError):
            expand_sources(nothing)


def test_the_same_file_is_taken_once(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "b.jpg", "sub/c.jpg")
    monkeypatch.chdir(tmp_path)
    found = expand_sources(["b.jpg", str(tmp_path), "./a.jpg", "sub/../a.jpg"])
    assert names(found) == ["b", "a"]


def test_equal_names_are_told_apart_by_folder_then_suffix_then_number(tmp_path):
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "b/x.png", "b/X.JPG", "y.jpg")
    found = expand_sources([tmp_path / "a" / "x.jpg", tmp_path / "b", tmp_path / "y.jpg"])
    assert names(found)[0] == "a/x"
    assert names(found)[-1] == "y"
    assert "b/x_png" in names(found)
    assert len({name.casefold() for name in names(found)}) == 5


def test_names_never_leave_the_output_folder(tmp_path, monkeypatch):
    touch(tmp_path, "x.jpg", "in/x.jpg", "in/deep/x.jpg")
    monkeypatch.chdir(tmp_path / "in" / "deep")
    found = expand_sources(["../../x.jpg", "../x.jpg", "x.jpg", "http://host/..%2f..%2fx.jpg", "http://host/../x.jpg"])
    for name in names(found):
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://host/a/photo.jpg?size=2#x", "photo"),
        ("https://host/a/photo", "photo"),
        ("https://some.host/", "some_host"),
        ("http://host/a%20b%2Fc.png", "c"),
        ("http://host/%2e%2e", "url"),
        ("http://host/größe.png", "größe"),
    ],
)
def test_names_of_addresses(url, name):
    (found,) = expand_sources([url])
    assert (found.kind, found.location, found.name) == ("url", url, name)


def test_what_only_begins_like_an_address_is_an_input_error():
    with pytest.raises(InputError, match=r"http://\[x is no address"):
        expand_sources(["http://[x"])


def test_addresses_with_equal_names_are_numbered():
    urls = [f"http://host/{i}/a.jpg" for i in range(3)]
    assert names(expand_sources([*urls, urls[0]])) == ["a", "a-2", "a-3"]


@settings(deadline=None, max_examples=30)
@given(
    st.sets(st.from_regex(r"[aAb]{1,2}/[xX]{1,2}(-2)?(_png)?\.(jpg|png|mp4)", fullmatch=True), min_size=1, max_size=12)
)
def test_names_are_always_unique(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("tree")
    touch(folder, *files)
    for sources in ([folder / file for file in sorted(files)], [f"{folder}/**/*"]):
        found = expand_sources(sources)
        assert len({name.casefold() for name in names(found)}) == len(found) == len(files)


def test_natural_order():
    shuffled = ["f10", "F2", "f1", "f1a", "10", "9", "f", "f01"]
    assert sorted(shuffled, key=natural_key) == ["9", "10", "f", "f1", "f01", "f1a", "F2", "f10"]


@given(st.lists(st.text(max_size=8)))
def test_any_names_can_be_sorted(texts):
    assert len(sorted(texts, key=natural_key)) == len(texts)


def test_what_the_system_will_not_look_for_stops_no_others(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    told = []
    paths = ["n" * 300 + ".jpg", tmp_path / "a.jpg"]
    found = expand_sources(paths, missing=lambda _text, error: told.append(str(error)))
    assert [source.name for source in found] == ["a"]
    assert "cannot be looked at: File name too long" in told[0]


def test_films_of_ours_are_passed_over(tmp_path):
    for name in ("clip.mp4", "poses/clip.mp4", "poses/clip.run.json", "poses/b.partial.mp4", "poses/b.run.json"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"drawn": ["clip.mp4"]}')
    assert [source.location for source in expand_sources([tmp_path], recursive=True)] == [str(tmp_path / "clip.mp4")]


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="cannot be read"):
        expand_sources([tmp_path])


def test_real_folders(shared):
    found = expand_sources([shared / "data/formats/coco", shared / "data/videos"])
    assert names(found)[:2] == ["000000000785", "000000040083"]
    assert [source.kind for source in found] == ["image"] * 4 + ["video"] * 4


def test_a_pattern_is_a_sequence_and_named_after_what_surrounds_the_number(tmp_path, monkeypatch):
    touch(tmp_path, "shots/00001.jpg", "run_0001_left.png", "odd%d.jpg")
    monkeypatch.chdir(tmp_path)
    patterns = ["shots/%05d.jpg", "run_%04d_left.png", str(tmp_path / "%d.png")]
    found = expand_sources(patterns)
    assert [source.kind for source in found] == ["sequence"] * 3
    assert [source.location for source in found] == patterns
    assert names(found) == ["shots", "run__left", tmp_path.name]
    (file,) = expand_sources(["odd%d.jpg"])  # a file of that name is that file
    assert file.kind == "image"


def test_a_folder_as_a_film_is_one_sequence(tmp_path):
    touch(tmp_path, "shots/1.jpg", "shots/2.jpg", "clip.mp4", "b/shots/1.jpg")
    found = expand_sources([tmp_path / "shots", tmp_path / "clip.mp4", tmp_path / "b" / "shots"], as_video=True)
    assert [(source.kind, source.name) for source in found] == [
        ("sequence", "shots"),
        ("video", "clip"),
        ("sequence", "shots-2"),
    ]
    assert found[0].location == str(tmp_path / "shots")
    assert [source.kind for source in expand_sources([tmp_path / "shots"])] == ["image", "image"]


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("webcam:0", "stream", "webcam-0"),
        ("WebCam:12", "stream", "webcam-12"),
        ("rtsp://user:secret@host:554/door", "stream", "door"),
        ("RTMP://host/live/one", "stream", "one"),
        ("udp://@:1234", "stream", "url"),
        ("http://host/clip.mp4", "stream", "clip"),
        ("https://host/a/clip.WEBM?token=x.jpg", "stream", "clip"),
        ("https://host/live.m3u8", "stream", "live"),
        ("https://host/photo.jpg?of=clip.mp4", "url", "photo"),
        ("https://host/photo", "url", "photo"),
    ],
)
def test_cameras_and_addresses_that_have_frames(text, kind, name, tmp_path):
    (found,) = expand_sources([text])
    assert (found.kind, found.location, found.name) == (kind, text, name)
    (tmp_path / "all.txt").write_text(text)
    assert expand_sources([tmp_path / "all.txt"]) == [found]


def test_the_same_stream_is_taken_once():
    found = expand_sources(["webcam:0", "http://a/clip.mp4", "webcam:0", "http://b/clip.mp4"])
    assert names(found) == ["webcam-0", "clip", "clip-2"]


@pytest.mark.parametrize("text", ["webcam:", "webcam:x", "webcam:1234", "ftp://host/clip.mp4"])
def test_what_only_looks_like_a_stream(text):
    with pytest.raises(InputError, match="does not exist"):
        expand_sources([text])


def test_what_has_a_pictures_name_and_cannot_be_read_is_listed_and_not_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "deep.png/b.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    os.mkfifo(tmp_path / "pipe.png")
    expected = ["a", "gone_jpg", "gone_mp4", "pipe"]
    assert names(expand_sources([tmp_path])) == expected
    assert names(expand_sources([f"{tmp_path}/*"])) == expected
    assert names(expand_sources([tmp_path / "gone.jpg"])) == ["gone"]


def test_a_list_that_cannot_be_read_stops_no_others(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "list.txt").write_text("gone.jpg\nb.jpg\n")
    told = {}
    texts = [tmp_path / "a.jpg", tmp_path / "empty.txt", tmp_path / "list.txt"]
    found = expand_sources(texts, missing=lambda text, error: told.update({Path(text).name: str(error)}))
    assert names(found) == ["a", "b"]
    assert list(told) == ["empty.txt", "gone.jpg"]
    assert "lists nothing" in told["empty.txt"]
    with pytest.raises(InputError, match="lists nothing"):
        expand_sources(texts)
