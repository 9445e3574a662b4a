"""Films made on the spot."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def make_film(tmp_path: Path) -> Callable[..., Path]:
    """Write a film in which every frame looks different, presented at ``times`` in hundredths of a second."""
    av = pytest.importorskip("av")

    def write(
        name: str = "film.mp4",
        times: Iterable[int] = range(0, 400, 4),
        *,
        codec: str = "libx264",
        size: tuple[int, int] = (64, 96),
        options: dict[str, str] | None = None,
        container_options: dict[str, str] | None = None,
        form: str | None = None,
        sound: bool = False,
        shift: int = 0,
    ) -> Path:
        path = tmp_path / name
        height, width = size
        with av.open(str(path), "w", format=form, container_options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=25, options=options or {})
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = Fraction(1, 100)
            hum = container.add_stream("aac", rate=8000, layout="mono") if sound else None
            for i, time in enumerate(times):
                image = np.full((height, width, 3), 40 + i % 100, np.uint8)
                image[:, (3 * i) % width : (3 * i) % width + 6] = 255
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = time, Fraction(1, 100)
                for packet in stream.encode(frame):
                    shift_packet(packet, shift)
                    container.mux(packet)
            for packet in stream.encode():
                shift_packet(packet, shift)
                container.mux(packet)
            if hum is not None:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate = 8000
                container.mux(hum.encode(silence))
                container.mux(hum.encode())
        return path

    def shift_packet(packet, hundredths: int) -> None:
        ticks = int(hundredths / 100 / packet.time_base) if hundredths else 0
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks

    return write
