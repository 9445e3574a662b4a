"""Whatever a picture comes as, the same pixels come out, upright; what is not a picture is named."""

import contextlib
import io
import os
import struct
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from vitpose.core.errors import InputError, UsageError, VitPoseError
from vitpose.media.images import read_image, write_image


def noise(height=12, width=17, channels=3, seed=0):
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png_header(width, height):
    """A PNG that says it is of this size and holds no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG"])
def test_what_is_written_is_read(tmp_path, suffix):
    image = np.full((9, 11, 3), (200, 30, 60), np.uint8)
    path = tmp_path / "deep" / f"picture{suffix}"
    write_image(path, image)
    assert np.abs(read_image(path).astype(int) - image).max() <= (0 if suffix == ".png" else 2)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_every_way_in_gives_the_same_pixels(tmp_path):
    image = noise()
    path = tmp_path / "a.png"
    write_image(path, image)
    with path.open("rb") as file:
        ways = [path, str(path), path.read_bytes(), bytearray(path.read_bytes()), file, Image.open(path), image]
        for way in ways:
            result = read_image(way)
            assert result.dtype == np.uint8
            assert result.flags.c_contiguous
            np.testing.assert_array_equal(result, image)


def test_results_from_files_can_be_written_to(tmp_path):
    assert read_image(encode(noise())).flags.writeable


# What EXIF says about the first row and column -> how the upright picture is stored.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation, kind):
    upright = noise(10, 16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(np.ascontiguousarray(STORED[orientation](upright)), kind, exif=exif, **options)
    np.testing.assert_array_equal(read_image(data), upright)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(read_image(opened), upright)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(encode(noise(), exif=exif)), noise())


def test_orientation_of_a_jpeg_and_of_grey_and_transparent_pictures():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(encode(noise(8, 24), "JPEG", exif=exif)).shape == (24, 8, 3)
    wide = (np.arange(6 * 4).reshape(4, 6) * 2570).astype(np.uint16)
    assert read_image(encode(wide, exif=exif)).shape == (6, 4, 3)
    assert read_image(encode(noise(8, 24, 4), exif=exif)).shape == (24, 8, 3)


def test_damaged_exif_does_not_cost_the_picture():
    data = encode(noise(), "JPEG", exif=b"Exif\x00\x00not what it says")
    assert read_image(data).shape == (12, 17, 3)


def test_sixteen_bit_greys_are_scaled_not_cut():
    values = np.array([[0, 128, 129], [257, 32896, 65535]], np.uint16)
    expected = np.array([[0, 0, 1], [1, 128, 255]], np.uint8)
    for way in (values, encode(values), encode(values, "TIFF"), Image.fromarray(values.astype(np.int32))):
        np.testing.assert_array_equal(read_image(way), np.repeat(expected[..., None], 3, axis=2))


def test_grey_integers_that_are_not_sixteen_bit_are_refused():
    with pytest.raises(InputError, match="16 bit"):
        read_image(Image.fromarray(np.array([[0, 70000]], np.int32)))


@settings(deadline=None)
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.integers(0, 1000))
def test_floats_from_bytes_come_back(dtype, seed):
    image = noise(seed=seed)
    np.testing.assert_array_equal(read_image((image / 255).astype(dtype)), image)


def test_arrays_of_every_accepted_kind():
    grey = noise(channels=0)
    expected = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(grey), expected)
    np.testing.assert_array_equal(read_image(grey[..., None]), expected)
    np.testing.assert_array_equal(read_image(grey.astype(np.uint16) * 257), expected)
    np.testing.assert_array_equal(read_image(grey > 99)[..., 0], (grey > 99) * 255)
    np.testing.assert_array_equal(read_image(noise()[:, ::-1]), noise()[:, ::-1])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 48, 64), np.uint8), "channels come last"),
        (np.zeros((48, 64, 2), np.uint8), "shape"),
        (np.zeros((1, 48, 64, 3), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((4, 4), complex), "complex"),
        (np.full((4, 4, 3), 255.0), "from 0 to 1"),
        (np.full((4, 4, 3), np.nan), "from 0 to 1"),
        (np.full((4, 4, 3), -0.5, np.float32), "from 0 to 1"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
    ],
)
def test_other_arrays_are_refused_with_the_accepted_kinds(array, words):
    with pytest.raises(InputError, match=words):
        read_image(array)


@pytest.mark.parametrize("thing", [None, 7, [[1, 2]], object(), ("a", "b")])
def test_other_things_are_refused(thing):
    with pytest.raises(InputError, match="a picture is a path, a URL"):
        read_image(thing)


def test_text_files_are_told_from_binary_ones(tmp_path):
    with pytest.raises(InputError, match="rb"):
        read_image(io.StringIO("text"))


def test_transparency_shows_white():
    clear = np.zeros((4, 4, 4), np.uint8)
    half = np.full((4, 4, 4), (100, 0, 200, 51), np.uint8)
    expected = [224, 204, 244]  # 0.2 of the colour, 0.8 of white
    for picture in (half, encode(half), encode(half, "WEBP", lossless=True), Image.fromarray(half)):
        np.testing.assert_allclose(read_image(picture)[0, 0], expected, atol=1)
    assert (read_image(encode(clear)) == 255).all()
    assert (read_image(clear) == 255).all()
    np.testing.assert_array_equal(read_image(np.dstack([noise(), np.full((12, 17), 255, np.uint8)])), noise())
    assert read_image(encode(Image.new("LA", (2, 2), (0, 0))))[0, 0].tolist() == [255, 255, 255]


def test_palettes_with_and_without_transparency():
    palette = Image.new("P", (3, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    for x in range(3):
        palette.putpixel((x, 0), x)
    assert read_image(encode(palette))[0].tolist() == [[10, 20, 30], [200, 100, 50], [7, 8, 9]]
    one_clear = read_image(encode(palette, transparency=1))[0].tolist()
    assert one_clear == [[10, 20, 30], [255, 255, 255], [7, 8, 9]]
    by_bytes = read_image(encode(palette, transparency=bytes([255, 255, 0])))[0].tolist()
    assert by_bytes == [[10, 20, 30], [200, 100, 50], [255, 255, 255]]


def test_cmyk_bits_and_greys():
    assert read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[4, 4].tolist() == pytest.approx(
        [255, 0, 0], abs=3
    )
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert read_image(encode(bits))[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert read_image(encode(noise(channels=0)))[..., 2].tolist() == noise(channels=0).tolist()
    assert read_image(encode(Image.new("YCbCr", (8, 8), (128, 128, 128)), "JPEG")).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "lime", "blue")]
    data = encode(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind != "GIF" else {})
    )
    result = read_image(data)
    assert result.shape == (5, 6, 3)
    assert result[2, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (30_000, 1), (30_000, 40), (1, 30_000)])
def test_extreme_sizes(size):
    width, height = size
    assert read_image(encode(Image.new("RGB", size, "red"))).shape == (height, width, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
def test_cut_short_anywhere_is_an_input_error_that_names_the_file(tmp_path, kind):
    data = encode(noise(64, 64), kind)
    path = tmp_path / "half.bin"
    for share in (0.02, 0.3, 0.6):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(InputError, match=r"half\.bin"):
            read_image(path)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]), st.integers(0, 60))
def test_damage_never_ends_in_another_exception(junk, kind, place):
    data = bytearray(encode(noise(), kind))
    data[place : place + len(junk)] = junk
    with contextlib.suppress(InputError):
        result = read_image(bytes(data))
        assert result.ndim == 3
        assert result.dtype == np.uint8


def test_what_is_not_there_or_no_picture(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    for name, words in [
        ("none.jpg", "does not exist"),
        ("empty.jpg", "is empty"),
        ("text.jpg", "not a picture in a known format"),
        (".", "is a folder"),
        ("a\0b.jpg", "cannot be read"),
        ("text.jpg/x.png", "cannot be read"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            read_image(str(tmp_path / name))
        assert str(tmp_path) in str(caught.value)
    with pytest.raises(InputError, match="is empty"):
        read_image(b"")


def test_other_formats_are_not_even_tried():
    data = encode(Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(InputError, match="known format"):
        read_image(data)


def test_a_bomb_is_refused_from_its_header_without_a_warning():
    with pytest.raises(InputError, match="limit of 200 million"):
        read_image(png_header(20_000, 20_000))
    with pytest.raises(InputError, match="65000x65000"):
        read_image(png_header(65_000, 65_000))


def test_the_limit_can_be_changed(monkeypatch):
    picture = encode(Image.new("RGB", (20, 10)))
    with pytest.raises(InputError, match="20x10"):
        read_image(picture, max_pixels=199)
    assert read_image(picture, max_pixels=200).shape == (10, 20, 3)
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", "199")
    with pytest.raises(InputError, match="VITPOSE_MAX_PIXELS"):
        read_image(picture)
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", "2e2")
    assert read_image(picture).shape == (10, 20, 3)
    monkeypatch.setenv("VITPOSE_MAX_PIXELS", "many")
    with pytest.raises(UsageError, match="many"):
        read_image(picture)


def test_pillows_own_limit_neither_warns_nor_changes(monkeypatch):
    # Stands for a picture of more than 179 million pixels, at which Pillow gives up, without the time and memory.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    for kind in ("PNG", "GIF", "TIFF", "WEBP"):
        assert read_image(encode(noise(20, 20), kind)).shape == (20, 20, 3)
    assert Image.MAX_IMAGE_PIXELS == 50


def test_threads_read_side_by_side():
    data = [encode(noise(seed=seed)) for seed in range(8)]
    results = [None] * 8

    def work(i):
        for _ in range(20):
            results[i] = read_image(data[i])

    before = Image.MAX_IMAGE_PIXELS
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        np.testing.assert_array_equal(results[i], noise(seed=i))
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_callers_things_stay_as_they_are():
    opened = Image.new("RGBA", (4, 4), (1, 2, 3, 4))
    read_image(opened)
    assert opened.mode == "RGBA"
    array = np.dstack([noise(), noise(channels=1)])
    before = array.copy()
    read_image(array)
    np.testing.assert_array_equal(array, before)


def test_writing_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(UsageError, match=r"\.png|\.jpg"):
        write_image(tmp_path / "a.gif", noise())
    with pytest.raises(UsageError, match="float64"):
        write_image(tmp_path / "a.png", noise() / 255)
    (tmp_path / "file").touch()
    with pytest.raises(VitPoseError, match="cannot write"):
        write_image(tmp_path / "file" / "a.png", noise())
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_real_pictures_read_as_opencv_reads_them(shared):
    import cv2

    paths = sorted((shared / "data/formats/coco").glob("*.jpg"))
    assert paths
    for path in paths:
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])


def test_a_drawing_keeps_its_place():
    picture = Image.new("RGB", (30, 20))
    ImageDraw.Draw(picture).rectangle([4, 2, 4, 2], fill="white")
    ys, xs = np.nonzero(read_image(encode(picture))[..., 0])
    assert (xs.tolist(), ys.tolist()) == ([4], [2])


def test_pipes_and_links_that_lead_nowhere_are_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg is a pipe, not a file: save"):
        read_image(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"gone\.jpg is a link to nowhere\.jpg, which does not exist"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.jpg")


def test_greys_of_32_bit_are_8_or_16_bit_by_the_largest():
    small, large = np.array([[0, 7], [254, 255]], np.int32), np.array([[0, 257], [32896, 256 * 255]], np.int32)
    for way in (Image.fromarray, lambda values: encode(values, "TIFF")):
        assert read_image(way(small))[..., 0].tolist() == [[0, 7], [254, 255]]
        assert read_image(way(large))[..., 0].tolist() == [[0, 1], [128, 254]]
        with pytest.raises(InputError, match="from -1 to 5"):
            read_image(way(np.array([[-1, 5]], np.int32)))
        with pytest.raises(InputError, match="from 0 to 65536"):
            read_image(way(np.array([[0, 65536]], np.int32)))
    words = np.array([[0, 255]], np.uint16)
    for way in (words, Image.fromarray(words), encode(words), encode(words, "TIFF"), encode(words, "PPM")):
        assert read_image(way)[0, :, 0].tolist() == [0, 1], "16-bit files are 16 bit however dark they are"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_used_and_that_is_said(tmp_path, caplog, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    path = tmp_path / "moving"
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:], lossless=True)
    with caplog.at_level("WARNING"):
        assert read_image(path)[8, 8].tolist() == [255, 0, 0]
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        f"{path} is an animation: its first frame is used"
    ]
    caplog.clear()
    with caplog.at_level("WARNING"):
        read_image(encode(noise(), kind))
    assert not caplog.records
