"""Makes the clip that ships with the package: ten seconds of a made-up scene, moving at 15 frames per second, with its sound.

python examples/make_example_clip.py src/ccformer_hf/checkpoints/example.mp4
"""

import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

from ccformer_hf.data.made_up import CLASS_NAMES, make_clip
from ccformer_hf.media import VideoWriter

SEED, INDEX, SIZE, FPS, SECONDS = 2_000_000, 6, 320, 15, 10  # a seed that no checkpoint is trained on


def main(path: str) -> None:
    times = np.arange(SECONDS * FPS) / FPS
    clip = make_clip("avss", SEED, INDEX, size=SIZE, times=times)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((clip.waveform * 32767).astype("<i2").tobytes())
        with VideoWriter(path, SIZE, SIZE, FPS, sound_from=sound) as video:
            for frame, time in zip(clip.frames, times, strict=True):
                video.write(frame, time)
    names = [CLASS_NAMES[i] for i in clip.object_ids]
    print(f"{path}: {Path(path).stat().st_size / 1000:.0f} kB, {SECONDS} s, in the picture: {', '.join(names)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
