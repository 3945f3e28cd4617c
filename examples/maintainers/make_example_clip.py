"""Makes the clips that ship with the package: synthetic scenes, moving at 15 frames per second, with their sound.

python examples/maintainers/make_example_clip.py src/ccformer_hf/checkpoints/example.mp4
python examples/maintainers/make_example_clip.py src/ccformer_hf/demo/clips/drum.mp4 ms3 2000001 14
python examples/maintainers/make_example_clip.py src/ccformer_hf/demo/clips/dog.mp4 ms3 2000001 24
"""

import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

from ccformer_hf.data.synthetic.clips import CLASS_NAMES, make_clip
from ccformer_hf.inference.video_writer import VideoWriter
from ccformer_hf.model.timing_ccformer import SAMPLING_RATE

SIZE, FPS = 320, 15
SETTING, SEED, INDEX = "avss", 2_000_000, 6  # of the package's example; seeds that no checkpoint is trained on


def main(path: str, setting: str = SETTING, seed: int = SEED, index: int = INDEX) -> None:
    seconds = len(make_clip(setting, seed, index, size=32).waveform) // SAMPLING_RATE
    times = np.arange(seconds * FPS) / FPS
    clip = make_clip(setting, seed, index, size=SIZE, times=times)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.wav"
        with wave.open(str(sound), "wb") as file:
            file.setparams((1, 2, SAMPLING_RATE, 0, "NONE", ""))
            file.writeframes((clip.waveform * 32767).astype("<i2").tobytes())
        with VideoWriter(path, SIZE, SIZE, FPS, sound_from=sound) as video:
            for frame, time in zip(clip.frames, times, strict=True):
                video.write(frame, time)
    names = [CLASS_NAMES[i] for i in clip.object_ids]
    print(f"{path}: {Path(path).stat().st_size / 1000:.0f} kB, {seconds} s, in the picture: {', '.join(names)}")


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[2:3], *map(int, sys.argv[3:]))
