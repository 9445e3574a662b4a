"""Cameras, live addresses and films on the web, from servers on this machine that come and go."""

import contextlib
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.media.frames import Span
from vitpose.media.live import Reconnect
from vitpose.media.sources import Source
from vitpose.media.streams import open_stream
from vitpose.media.urls import without_password
from vitpose.media.video import VideoFile, open_frames

pytest.importorskip("av")

QUICK = Reconnect(tries=3, first_wait_s=0.01)


class Server:
    """Answers each request with the next of ``answers``, then with 404.

    An answer is what is sent, and how long it is said to be; None says nothing of the length, as live servers do.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked += 1
                if not server.answers:
                    self.send_error(404)
                    return
                data, length = server.answers.pop(0)
                self.send_response(200)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                with contextlib.suppress(OSError):  # the reader may have seen enough
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return f"http://127.0.0.1:{self.http.server_port}"

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def transport(make_film):
    """MPEG-TS, which can be joined anywhere, of 200 frames: more than the threads of a decoder hold."""
    return make_film("clip.ts", range(0, 800, 4), options={"g": "10"}).read_bytes()


def facts(frames):
    return [(frame.index, frame.time_s, frame.image.tobytes()) for frame in frames]


def test_a_live_stream_that_breaks_off_comes_back_and_dies(transport, caplog):
    half = transport[: len(transport) // 2]
    # Two looks to see what it is, then three connections that break off.
    answers = [(transport, None), (transport, None), (half, None), (b"", None), (half, None)]
    with Server(*answers) as address:
        live = open_stream(f"{address}/live.ts", Span(), name="door", reconnect=QUICK)
        assert (live.name, live.info.live, live.info.size) == ("door", True, Size(64, 96))
        found = []
        with caplog.at_level(logging.WARNING), pytest.raises(InputError, match=r"live\.ts.* 3 tries were in vain"):
            found.extend((frame.index, frame.time_s) for frame in live.frames())
    indices, times = [index for index, _ in found], [time_s for _, time_s in found]
    assert indices == sorted(set(indices))
    assert indices[-1] > 110  # more than one connection gave
    assert times == sorted(times)
    assert "live.ts: connection lost" in caplog.text
    assert "(3 of 3)" in caplog.text
    assert caplog.text.count("connected again") == 1


def test_the_end_of_a_span_ends_a_live_stream(transport):
    with Server(*[(transport, None)] * 3) as address:
        live = open_stream(f"{address}/live.ts", Span(0.0, 0.01), reconnect=QUICK)
        assert [frame.index for frame in live.frames()] == [0]


def test_a_live_stream_cannot_be_gone_on_with(transport):
    with Server(*[(transport, None)] * 2) as address:
        live = open_stream(f"{address}/live.ts", Span())
        with pytest.raises(UsageError, match="is live"):
            next(live.frames(3))


def test_a_film_on_the_web_is_read_like_a_file(make_film):
    path = make_film(times=range(0, 120, 4), container_options={"movflags": "faststart"}, sound=True)
    data = path.read_bytes()
    full = facts(VideoFile(path).frames())
    with Server(*[(data, len(data))] * 20) as address:
        film = open_frames(Source("stream", f"{address}/film.mp4", "film"))
        assert film.info == VideoFile(path).info
        assert not film.info.live
        assert facts(film.frames()) == full
        assert facts(film.frames(11)) == full[12:]
        assert facts(open_frames(Source("stream", f"{address}/film.mp4", "film"), Span(0.5, 0.9, 2)).frames()) == [
            one for one in full if 0.5 <= one[1] < 0.9 and one[0] % 2 == 0
        ]


def test_a_film_whose_connection_dies_goes_on_at_the_next_frame(tmp_path, transport, caplog):
    length = len(transport)
    part = transport[: length * 2 // 3]
    same = tmp_path / "same.ts"  # the same bytes: x264 at a bit rate does not write the same film twice
    same.write_bytes(transport)
    full = facts(VideoFile(same).frames())
    with Server(*[(transport, length)] * 2, (part, length), (part[:400], length), (transport, length)) as address:
        film = open_stream(f"{address}/clip.ts", Span(), reconnect=QUICK)
        with caplog.at_level(logging.WARNING):
            assert facts(film.frames()) == full
    # How many tries it takes depends on how much of the answer is read before the connection dies.
    assert "connection lost" in caplog.text
    assert "connected again" in caplog.text


def test_a_film_whose_server_dies_is_an_error_after_what_came(transport):
    length = len(transport)
    with Server(*[(transport, length)] * 2, (transport[: length // 2], length)) as address:
        frames = open_stream(f"{address}/clip.ts", Span(), reconnect=QUICK).frames()
        assert next(frames).index == 0
        with pytest.raises(InputError, match=r"clip\.ts: the connection was lost and 3 tries were in vain"):
            list(frames)


@pytest.mark.parametrize(
    ("path", "answer", "words"),
    [("clip.mp4", None, "cannot be opened"), ("clip.mp4", b"no film" * 100, "cannot be opened")],
)
def test_what_is_no_film_is_an_error_at_once(path, answer, words):
    answers = [(answer, len(answer))] * 2 if answer else []
    with Server(*answers) as address, pytest.raises(InputError, match=words) as caught:
        open_stream(f"{address}/{path}", Span())
    assert f"{address}/{path}" in str(caught.value)


def test_nobody_answers_and_passwords_are_not_shown():
    for scheme in ("rtsp", "http"):
        with pytest.raises(InputError, match="cannot be opened") as caught:
            open_stream(f"{scheme}://user:secret@127.0.0.1:1/door.ts", Span())
        assert "secret" not in str(caught.value)
        assert f"{scheme}://127.0.0.1:1/door.ts" in str(caught.value)


def test_only_user_and_password_are_left_out():
    assert without_password("rtsp://a:b@c@host:554/x?y=1@2") == "rtsp://host:554/x?y=1@2"
    assert without_password("udp://@:1234") == "udp://@:1234"
    assert without_password("https://host/x@y") == "https://host/x@y"


class Camera:
    """Stands for ``cv2.VideoCapture``: blue pictures, as OpenCV orders colours, until the plug is pulled."""

    opened = 0

    def __init__(self, number):
        Camera.opened += 1
        self.left = 5 if number == 3 and Camera.opened <= 3 else 0

    def isOpened(self):  # noqa: N802 - the name of OpenCV
        return self.left > 0

    def get(self, _property):
        return 30.0

    def read(self):
        self.left -= 1
        return (True, np.full((4, 6, 3), (255, 0, 7), np.uint8)) if self.left >= 0 else (False, None)

    def release(self):
        pass


def test_a_camera_gives_frames_until_it_is_gone(monkeypatch, caplog):
    monkeypatch.setattr(Camera, "opened", 0)
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    live = open_stream("webcam:3", Span(), reconnect=QUICK)
    assert (live.info.size, live.info.rate, live.info.audio, live.info.live) == (Size(4, 6), 30.0, False, True)
    found = []
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match=r"webcam:3.*there is no such camera"):
        found.extend(live.frames())
    assert found[-1].index == 9  # two connections of five
    assert found[0].image[0, 0].tolist() == [7, 0, 255]
    assert [frame.time_s for frame in found] == sorted(frame.time_s for frame in found)
    assert "connection lost (the camera gives no picture)" in caplog.text


def test_a_camera_that_is_not_there(capfd):
    with pytest.raises(InputError, match="webcam:99: there is no such camera, or another program uses it"):
        open_stream("webcam:99", Span())
    assert capfd.readouterr().err == ""


def test_a_list_of_pieces_that_is_still_written_is_live_and_a_finished_one_is_a_film(transport, make_film):
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXTINF:2.0,",
        "a.ts",
    ]

    for ending, is_live in (["#EXT-X-ENDLIST"], False), ([], True):
        listing = "\n".join([*lines, *ending, ""]).encode()
        server = Server(*[(listing, len(listing)), (transport, len(transport))] * 4)
        with server as address:
            source = open_stream(f"{address}/list.m3u8", Span(0, 0.5), reconnect=QUICK)
            assert source.info.live == is_live
