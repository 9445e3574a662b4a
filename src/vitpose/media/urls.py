"""Pictures from the web: http and https only, with limits on size and time that a hostile server cannot stretch."""

import base64
import contextlib
import http.client
import io
import re
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from vitpose._version import __version__
from vitpose.core.errors import InputError
from vitpose.media.decode import open_header

_CHUNK = 1 << 16

_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]+)@")


def is_url(text: str) -> bool:
    """Whether ``text`` is an http or https address."""
    return text.lower().startswith(("http://", "https://"))


def without_password(address: str) -> str:
    """Return an address as it may be shown: user and password are left out."""
    return _LOGIN.sub(r"\1", address)


def fetch_url(url: str, *, max_bytes: int = 50_000_000, timeout_s: float = 20.0) -> bytes:
    """Fetch an encoded picture.

    Args:
        url: http or https address; redirects must lead to http or https too. ``user:password@`` before the host is
            sent to that host as basic authentication, and never shown.
        max_bytes: stop when the answer is longer than this, whatever it announced.
        timeout_s: time for everything together: connecting, redirects, headers and body.

    Raises:
        InputError: another scheme, no such host, an error status, too long, too slow, or not a picture.
    """
    url, login = without_password(url), _login(url)
    if not is_url(url):
        raise InputError(f"{url}: only http and https addresses are fetched")
    watch = _Watch(timeout_s)
    try:
        with watch.running():
            data = _download(url, login, max_bytes, watch)
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(f"{url}: the server answered {error.code} {_one_line(error.reason)}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if watch.expired or _is_timeout(error):
            raise InputError(f"{url}: no complete answer within {timeout_s:g} s") from error
        raise InputError(f"{url} cannot be fetched: {_one_line(getattr(error, 'reason', None) or error)}") from error
    if not data:
        raise InputError(f"{url}: the answer is empty")
    with open_header(io.BytesIO(data), url):
        return data


def _login(url: str) -> str:
    """Return the value of the header that carries an address's user and password, or nothing."""
    found = _LOGIN.match(url)
    if found is None:
        return ""
    name, _, password = (urllib.parse.unquote(part) for part in found[2].partition(":"))
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _download(url: str, login: str, max_bytes: int, watch: "_Watch") -> bytes:
    # Without build_opener's handlers for file, ftp and data addresses: nothing but the web can be reached.
    opener = urllib.request.OpenerDirector()
    handlers = (
        urllib.request.ProxyHandler(),
        _HttpHandler(watch),
        _HttpsHandler(watch),
        _WebRedirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    )
    for handler in handlers:
        opener.add_handler(handler)
    address = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
    request = urllib.request.Request(address, headers={"User-Agent": f"vitpose/{__version__}"})
    if login:
        request.add_unredirected_header("Authorization", login)  # another host must not learn it
    data = bytearray()
    with opener.open(request, timeout=watch.limit_s) as response:
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > max_bytes:
            raise InputError(f"{url} has {int(announced) / 1e6:.1f} MB, more than the limit of {max_bytes / 1e6:g} MB")
        while chunk := response.read1(_CHUNK):
            data += chunk
            if len(data) > max_bytes:
                raise InputError(f"{url} sends more than the limit of {max_bytes / 1e6:g} MB")
        if watch.expired or (announced.isdecimal() and len(data) < int(announced)):
            raise ConnectionError("the connection broke off before the end")
    return bytes(data)


class _Watch:
    """Shuts the sockets of a fetch when its time is over: a socket's own timeout starts anew with every byte."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.expired = False
        self._sockets: list[socket.socket] = []
        self._deadline = time.monotonic() + limit_s

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        timer = threading.Timer(self.limit_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def add(self, connected: socket.socket | None) -> None:
        if connected is not None:
            self._sockets.append(connected)
        if time.monotonic() > self._deadline:
            self._expire()

    def _expire(self) -> None:
        self.expired = True
        for connected in self._sockets:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)


class _HttpConnection(http.client.HTTPConnection):
    watch: _Watch

    def connect(self) -> None:
        super().connect()
        self.watch.add(self.sock)


class _HttpsConnection(http.client.HTTPSConnection):
    watch: _Watch

    def connect(self) -> None:
        super().connect()
        self.watch.add(self.sock)


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connect(host: str, *, timeout: float) -> _HttpConnection:
            connection = _HttpConnection(host, timeout=timeout)
            connection.watch = self._watch
            return connection

        return self.do_open(connect, req)  # type: ignore[arg-type] # do_open passes host and timeout, no more


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def connect(host: str, *, timeout: float) -> _HttpsConnection:
            connection = _HttpsConnection(host, timeout=timeout)
            connection.watch = self._watch
            return connection

        return self.do_open(connect, req)  # type: ignore[arg-type] # do_open passes host and timeout, no more


class _WebRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        # The base class lets ftp pass, and refuses other schemes before it comes here.
        if not is_url(newurl):
            fp.close()
            raise InputError(f"{req.full_url} redirects to {newurl}: only http and https addresses are fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or isinstance(getattr(error, "reason", None), TimeoutError)
