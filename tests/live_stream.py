"""A stream through a pipe that takes the place of standard input; each picture waits until it is let out."""

import os
import sys
import threading
from fractions import Fraction

import av
import numpy as np

FPS, RATE = 10, 16000
PICTURES = 25


def send(file, gate: threading.Semaphore, pictures: int) -> None:
    """Writes Matroska: picture n is as bright as 8 n, its sound n / 100 loud. Each waits until `gate` lets it out."""
    # Nothing is held back in the writer.
    options = {"cluster_time_limit": "0", "flush_packets": "1"}
    with file, av.open(file, "w", format="matroska", options=options) as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt, video.time_base = 64, 48, "yuv420p", Fraction(1, FPS)
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(pictures):
            gate.acquire()
            samples = np.full((1, RATE // FPS), number * 32768 // 100, dtype=np.int16)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, number * RATE // FPS, Fraction(1, RATE)
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, dtype=np.uint8), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            container.mux(audio.encode(sound))
            container.mux(video.encode(picture))
        container.mux([*video.encode(), *audio.encode()])


class Pipe:
    """Standard input whose other end `send` writes, as many pictures as are let out."""

    def __init__(self, monkeypatch, let_out: int, pictures: int = PICTURES):
        reading, writing = os.pipe()
        self.fileno = lambda: reading
        self.gate = threading.Semaphore(let_out)
        monkeypatch.setattr(sys, "stdin", self)
        threading.Thread(target=send, args=(os.fdopen(writing, "wb"), self.gate, pictures), daemon=True).start()
