"""Fetching keeps to the web and to its limits, whatever the server does."""

import http.server
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from vitpose.core.errors import InputError
from vitpose.media.images import read_image
from vitpose.media.urls import fetch_url, is_url


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(buffer, format="PNG")
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_args):
        pass

    def do_GET(self):
        # The client hangs up on purpose in several tests.
        try:
            getattr(self, "answer_" + self.path.strip("/").partition("?")[0].partition("/")[0])()
        except OSError:
            self.close_connection = True

    def send(self, data, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def answer_ok(self):
        self.send(png(), Content_Length=str(len(png())))

    def answer_unannounced(self):
        self.send(png())

    def answer_locked(self):
        known = self.headers["Authorization"] == "Basic bWU6czpjcmV0"  # me:s:cret
        self.send(png() if known else b"", 200 if known else 401)

    def answer_elsewhere(self):
        self.send(b"", 302, Location=f"http://localhost:{self.server.server_port}/locked")

    def answer_missing(self):
        self.send(b"gone", 404)

    def answer_text(self):
        self.send(b"<html>no picture</html>")

    def answer_nothing(self):
        self.send(b"", Content_Length="0")

    def answer_cut(self):
        self.send(png()[:40], Content_Length=str(len(png())))

    def answer_long(self):
        self.send(b"", Content_Length="999999999")

    def answer_endless(self):
        self.send(b"")
        while True:
            self.wfile.write(bytes(1 << 16))

    def answer_drip(self):
        self.send(b"")
        for byte in png() * 20:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def answer_dripheader(self):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        for _ in range(100):
            self.wfile.write(b"X")
            self.wfile.flush()
            time.sleep(0.05)

    def answer_silent(self):
        time.sleep(2)

    def answer_tofile(self):
        self.send(b"", 302, Location="file:///etc/passwd")

    def answer_toftp(self):
        self.send(b"", 301, Location="ftp://127.0.0.1/x.png")

    def answer_took(self):
        self.send(b"", 302, Location="/ok")

    def answer_loop(self):
        self.send(b"", 302, Location="/loop?" + str(time.monotonic_ns()))


@pytest.fixture(scope="module")
def server():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("path", ["ok", "unannounced", "took", "ok/a b/ü.png?x=1"])
def test_pictures_arrive(server, path):
    assert fetch_url(f"{server}/{path}") == png()
    np.testing.assert_array_equal(read_image(f"{server}/{path}"), np.full((4, 5, 3), (255, 0, 0), np.uint8))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing", "404"),
        ("text", "not a picture"),
        ("nothing", "is empty"),
        ("cut", "broke off|IncompleteRead"),
        ("long", r"1000\.0 MB, more than the limit"),
        ("endless", "more than the limit of 0.5 MB"),
        ("tofile", "file:///etc/passwd.* is not allowed"),
        ("toftp", "only http and https"),
        ("loop", "redirect|302"),
    ],
)
def test_bad_answers_are_input_errors_that_name_the_address(server, path, words):
    with pytest.raises(InputError, match=words) as caught:
        fetch_url(f"{server}/{path}", max_bytes=500_000)
    assert server in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["drip", "dripheader", "silent"])
def test_the_time_limit_holds_for_everything_together(server, path):
    started = time.monotonic()
    with pytest.raises(InputError, match=r"within 0\.4 s"):
        fetch_url(f"{server}/{path}", timeout_s=0.4)
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://host/a.png", "data:image/png;base64,AA==", "a.png", "", "HTTP:/x", "gopher://x/"],
)
def test_other_schemes_are_refused(url):
    assert not is_url(url)
    with pytest.raises(InputError, match="only http and https"):
        fetch_url(url)


@pytest.mark.parametrize("url", ["http://", "http://[", "http://127.0.0.1:1/a.png", "http://127.0.0.1:port/"])
def test_addresses_nobody_answers_at(url):
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch_url(url, timeout_s=5)


def test_threads_are_not_left_behind(server):
    fetch_url(f"{server}/ok")
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread.is_alive()]


def test_user_and_password_are_sent_to_that_host_only_and_never_shown(server):
    login = server.replace("http://", "http://me:s%3Acret@")
    assert fetch_url(f"{login}/locked") == png()
    for path in ("/elsewhere", "/missing"):
        with pytest.raises(InputError, match="the server answered") as caught:
            fetch_url(f"{login}{path}")
        assert "cret" not in str(caught.value)
