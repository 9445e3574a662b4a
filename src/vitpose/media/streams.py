"""Cameras, live addresses and films on the web."""

import contextlib
import logging
import threading
from collections.abc import Generator, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vitpose.core.errors import InputError, UsageError
from vitpose.core.geometry import Size
from vitpose.media.container import BrokenOffError, UprightImages, average_rate, packets, pyav
from vitpose.media.film import Film, Location
from vitpose.media.frames import Frame, FrameSource, Span, VideoInfo
from vitpose.media.live import Feed, Pump, Reconnect, Retries
from vitpose.media.sources import WEBCAM
from vitpose.media.urls import without_password

log = logging.getLogger(__name__)

PATIENCE = Reconnect()
"""How a lost connection is taken up again, unless told otherwise."""

TIMEOUT_S = 10.0
"""Longest wait for a server's answer and for the next packet."""

# Asked for in this order: over TCP no packet is lost; a server that breaks off is asked for the rest of a file.
_OPTIONS = {"rtsp_flags": "prefer_tcp", "reconnect": "1", "reconnect_delay_max": "4"}


def open_stream(
    address: str, span: Span, *, name: str | None = None, rate: float | None = None, reconnect: Reconnect = PATIENCE
) -> FrameSource:
    """Open ``webcam:0``, a live address, or a film on the web, which is not live: all its frames are read.

    An address is a film if it says how long it is.

    Args:
        address: what the user typed.
        span: the frames that are wanted; live times begin at 0 with the first frame.
        name: what results are named by; by default the address.
        rate: frames a second where a film has no time stamps.
        reconnect: what to do when a connection is lost.

    Raises:
        InputError: no such camera, nothing answers, or no picture comes.
        MissingExtraError: PyAV is not installed.
    """
    camera = WEBCAM.fullmatch(address)
    if camera:
        return LiveSource(CameraFeed(int(camera["number"])), span, name=name, reconnect=reconnect)
    location = Location(address, without_password(address), _OPTIONS, TIMEOUT_S)
    with location.open() as (container, _):
        # A playlist's size is that of the list.
        is_film = bool(container.duration) or (container.format.name not in ("hls", "rtsp") and container.size > 0)
    if is_film:
        return WebFilm(location, span, name=name, rate=rate, reconnect=reconnect)
    return LiveSource(NetworkFeed(location), span, name=name, reconnect=reconnect)


class LiveSource:
    """Frames that go by. A reader that is slower than they come gets the newest; how many were dropped is said.

    Times are seconds since the first frame. When a connection is lost it is taken up again, index and time go on.

    Attributes:
        name: what results are named by.
        info: facts about the source.
    """

    def __init__(self, feed: Feed, span: Span, *, name: str | None = None, reconnect: Reconnect = PATIENCE) -> None:
        """Connect, look at one picture and disconnect; see ``open_stream``.

        Raises:
            InputError: cannot connect, or no picture comes.
        """
        self.name = feed.shown if name is None else name
        self._feed, self._span, self._reconnect = feed, span, reconnect
        self._pump: Pump | None = None
        try:
            with contextlib.closing(feed.pictures()) as pictures:
                image = next((feed.image(picture) for _, picture in pictures), None)
        except BrokenOffError as error:
            raise InputError(f"{feed.shown} gives no picture: {error}") from error
        if image is None:
            raise InputError(f"{feed.shown} gives no picture")
        self.info = VideoInfo(
            size=Size(*image.shape[:2]), rate=feed.rate, frames=None, duration_s=None, audio=feed.audio, live=True
        )

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Connect and yield the frames of the span as they come; ends with the span or when the reader stops.

        Raises:
            InputError: the connection is lost for good.
            UsageError: ``after`` is given: what went by does not come again.
        """
        if after >= 0:
            raise UsageError(f"{self._feed.shown} is live: a run cannot go on where another ended")
        self._pump = Pump(self._feed, self._span, self._reconnect)
        with self._pump.running() as items:
            for index, time_s, picture in items:
                yield Frame(index, time_s, self._feed.image(picture))

    def stop(self) -> None:
        """End the reading at once, also while no picture comes; see ``Stoppable``."""
        if self._pump is not None:
            self._pump.stop()


class WebFilm:
    """A film on the web, read like a file; a connection that is lost is taken up again at the next frame.

    Attributes:
        name: what results are named by.
        info: facts about the whole film.
    """

    def __init__(
        self,
        location: Location,
        span: Span,
        *,
        name: str | None = None,
        rate: float | None = None,
        reconnect: Reconnect = PATIENCE,
    ) -> None:
        """Open the film, decode its first frame and close it; see ``open_stream``.

        Raises:
            InputError: cannot be opened, or its first frame cannot be decoded.
        """
        self.name = location.shown if name is None else name
        self._location, self._reconnect = location, reconnect
        self._stopped = threading.Event()
        # To look for keyframes would be to fetch the film twice.
        self._film = Film(location, span, rate=rate, on_disk=False)
        self.info = self._film.info

    def frames(self, after: int = -1) -> Iterator[Frame]:
        """Yield the frames of the span whose index is above ``after``; see ``FrameSource``.

        Raises:
            InputError: the connection is lost for good, or no frame lies in the span.
        """
        self._stopped.clear()
        retries = Retries(self._location.shown, self._reconnect, self._stopped.wait)
        while not self._stopped.is_set():
            try:
                for frame in self._film.frames(after):
                    retries.back()
                    after = frame.index
                    yield frame
                return
            except BrokenOffError as error:
                reason = str(error)
            except InputError as error:
                if not retries.vain:
                    raise
                reason = str(error)
            retries.lost(reason)

    def stop(self) -> None:
        """End a wait for the next try; see ``Stoppable``."""
        self._stopped.set()


class NetworkFeed:
    """A live address through PyAV."""

    def __init__(self, location: Location) -> None:
        self.shown = location.shown
        self.rate: float | None = None
        self.audio = False
        self._location = location
        self._upright = UprightImages(location.shown)

    def pictures(self) -> Generator[tuple[float | None, Any], None, None]:
        """Connect and yield time stamps and decoded frames; see ``Feed``."""
        av = pyav()
        with self._location.open() as (container, stream):
            self.rate, self.audio = average_rate(stream), bool(container.streams.audio)
            for packet in packets(container, stream):
                # Until the first keyframe, and where packets were lost, nothing can be decoded.
                with contextlib.suppress(av.FFmpegError):
                    yield from ((frame.time, frame) for frame in packet.decode())

    def image(self, picture: Any) -> NDArray[np.uint8]:
        """Return a decoded frame's pixels; see ``Feed``."""
        return self._upright(picture)


class CameraFeed:
    """A camera of this machine through OpenCV.

    OpenCV rather than FFmpeg's devices: it counts cameras on every system, where those want a name on Windows and the
    exact size and rate on macOS, and need a build that has them.
    """

    def __init__(self, number: int) -> None:
        """Take the camera's number, from 0."""
        self.shown = f"webcam:{number}"
        self.rate: float | None = None
        self.audio = False
        self._number = number
        self._upright = UprightImages(self.shown)

    def pictures(self) -> Generator[tuple[float | None, Any], None, None]:
        """Open the camera and yield pictures as OpenCV gives them, without time stamps; see ``Feed``."""
        camera = _open_camera(self._number)
        try:
            if not camera.isOpened():
                raise InputError(f"{self.shown}: there is no such camera, or another program uses it")
            rate = float(camera.get(cv2.CAP_PROP_FPS))
            self.rate = rate if 0 < rate < float("inf") else None
            while True:
                there, picture = camera.read()
                if not there:
                    raise BrokenOffError("the camera gives no picture")
                yield None, picture
        finally:
            camera.release()

    def image(self, picture: Any) -> NDArray[np.uint8]:
        """Return a picture's pixels; see ``Feed``."""
        rgb: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        return self._upright.scale(rgb)


def _open_camera(number: int) -> cv2.VideoCapture:
    """Open a camera without OpenCV's own words on stderr, which one error line replaces."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(level)
