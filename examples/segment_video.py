"""What sounds in a video, second by second, from Python.

    python examples/segment_video.py holiday.mp4

`ccformer_hf.segment_video` (and the command `ccformer segment`) writes a video, masks, JSON and a contact sheet; this
is the way for those who want the masks themselves.
"""

import sys

from ccformer_hf.inference.loading import load
from ccformer_hf.inference.segmenting import iter_segments

model, processor = load("ccformer-tiny")  # or a model folder, or a Hub id
for frame in iter_segments(sys.argv[1], model, processor):
    sounding = ", ".join(f"{model.config.id2label[i]} {score:.2f}" for i, score in frame.scores.items())
    share = (frame.class_map > 0).mean()  # class_map: (H, W) class ids at the size of the video
    print(f"{frame.start:6.1f} - {frame.end:6.1f} s   {share:4.0%} of the picture   {sounding or 'nothing'}")
