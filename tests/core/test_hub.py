"""Whether the hub is there: an answer of any kind, none, and one that never comes."""

import http.server
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from vitpose.core.hub import hub_is_reachable, is_offline


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_any_answer_counts_unless_the_user_forbids_to_ask(
    online: pytest.MonkeyPatch, server: http.server.HTTPServer
) -> None:
    online.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    assert hub_is_reachable()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        with online.context() as forbidden:
            forbidden.setenv(name, "yes")
            assert is_offline()
            assert not hub_is_reachable()
    assert not is_offline()


def test_no_server_is_out_of_reach(online: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        online.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert not hub_is_reachable()
    online.setenv("HF_ENDPOINT", "no address")
    assert not hub_is_reachable()


def test_who_fails_at_tls_has_been_reached(online: pytest.MonkeyPatch, server: http.server.HTTPServer) -> None:
    online.setenv("HF_ENDPOINT", f"https://127.0.0.1:{server.server_port}")  # it speaks no TLS
    assert hub_is_reachable()
    unknown = ssl.SSLCertVerificationError(1, "unable to get local issuer certificate")
    for error in (urllib.error.URLError(unknown), unknown):

        def fails(*_: object, error: Exception = error, **__: object) -> object:
            raise error

        online.setattr(urllib.request, "urlopen", fails)
        assert hub_is_reachable()


@pytest.mark.parametrize(
    ("name", "proxy", "decides"),
    [
        ("https_proxy", "socks5h://127.0.0.1:9", True),
        ("https_proxy", "https://127.0.0.1:9", True),
        ("all_proxy", "http://127.0.0.1:9", True),
        ("https_proxy", "http://127.0.0.1:9", False),
        ("https_proxy", "127.0.0.1:9", False),
        ("http_proxy", "socks5://127.0.0.1:9", False),
    ],
)
def test_a_proxy_that_cannot_be_asked_is_left_to_the_hubs_client(
    online: pytest.MonkeyPatch, name: str, proxy: str, decides: bool
) -> None:
    def nobody(*_: object, **__: object) -> object:
        raise urllib.error.URLError("nobody there")

    online.setattr(urllib.request, "urlopen", nobody)
    online.setenv(name, proxy)
    assert hub_is_reachable() == decides
    online.setenv("no_proxy", "huggingface.co")
    assert not hub_is_reachable()


def test_a_name_server_that_hangs_is_not_waited_for(online: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        release.wait(30)
        return []

    online.setattr(socket, "getaddrinfo", hang)
    online.setenv("HF_ENDPOINT", "http://hub.example")
    assert not hub_is_reachable(patience_s=0.2)
    assert asked.wait(5)
    assert not release.is_set()
    release.set()
