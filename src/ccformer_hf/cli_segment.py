"""`ccformer segment`: masks over whatever sounds in videos (ours)."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .cli_arguments import at_least, rate_or_all, share, tell_error

BUILT_IN_MODEL = "ccformer-tiny"
EXAMPLE_CLIP = Path(__file__).with_name("checkpoints") / "example.mp4"
FORMATS = ("video", "masks", "json", "sheet")

SEGMENT_EXAMPLES = """\
examples:
  ccformer segment                                the clip that ships with the package -> ccformer-output/example/
  ccformer segment holiday.mp4 -o results         one video -> results/holiday/
  ccformer segment *.mp4 --format json            segments.json only, of many videos
  ccformer segment drums.mov --fps 4              looks at 4 frames per second instead of 1
  ccformer segment drums.mov --model runs/mine    a model folder of your own, or owner/name on the Hugging Face Hub

In the folder of each video: overlay.mp4 (masks laid over it, own sound), masks/ (a PNG of class ids per frame looked at),
segments.json (what sounds when and where) and contact_sheet.png (frames and a timeline to look at).
"""


def add_segment(commands) -> None:
    """Adds the command to the parser's commands."""
    segment = commands.add_parser(
        "segment",
        help="lay masks over what sounds in videos",
        description="Lays a mask over whatever makes the sound in each video, and writes down what sounds when and where.",
        epilog=SEGMENT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = segment.add_argument
    add("videos", nargs="*", metavar="VIDEO", help="video files; none: the clip that ships with the package")
    add("-o", "--output", default="ccformer-output", metavar="DIR", help="output folder (default: %(default)s)")
    add(
        "--model", default=BUILT_IN_MODEL, help="model folder or Hub id (default: %(default)s, ships with the package)"
    )
    add("--fps", type=rate_or_all, default=1.0, help="frames looked at per second, or all (default: 1)")
    add("--threshold", type=share, default=0.5, help="0..1, higher marks less (default: %(default)g)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU where there is one")
    add(
        "--format",
        dest="formats",
        action="append",
        choices=FORMATS,
        help="what to write; may be given several times (default: all four)",
    )
    add("--window", type=at_least(1), default=10, help="frames the model sees at a time (default: %(default)s)")
    add("--overlap", type=at_least(0), help="frames that neighbouring windows share (default: a fifth of the window)")
    segment.set_defaults(run=_segment, parser=segment)


def _segment(options: argparse.Namespace) -> int:
    overlap = options.window // 5 if options.overlap is None else options.overlap
    if overlap >= options.window:
        options.parser.error(f"argument --overlap: {overlap} must be below --window ({options.window})")
    if not options.videos:
        print(f"no video named: taking the clip that ships with the package, {EXAMPLE_CLIP.name}")
    videos = [Path(video) for video in options.videos] or [EXAMPLE_CLIP]
    names = [video.stem for video in videos]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        options.parser.error(
            f"several videos are called {twice[0]} and would share a folder; run them one by one, each with its own -o"
        )

    # What cannot be read is told before PyTorch is loaded, which takes seconds.
    from .media_ccformer import probe

    readable = [video for video in videos if _succeeds(lambda video=video: probe(video))]
    done = 0
    if readable:
        model = _load(options)
        for video in readable:
            done += _succeeds(lambda video=video: _segment_one(video, model, overlap, options))
    if done == len(videos):
        return 0
    return 1 if len(videos) > 1 else 2


def _load(options: argparse.Namespace):
    from transformers.utils import logging

    from .inference import load, trained_on

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    model, processor = load(options.model, options.device)
    if options.model == BUILT_IN_MODEL:
        classes = ", ".join(name for class_id, name in model.config.id2label.items() if class_id)
        print(
            f"{BUILT_IN_MODEL} was trained on {trained_on(model) or 'made-up clips'}. It knows these drawn classes only, "
            f"not the real world: {classes}"
        )
    return model, processor


def _segment_one(video: Path, model, overlap: int, options: argparse.Namespace) -> None:
    from .segmentation import segment_video

    result = segment_video(
        video,
        options.output,
        model=model,
        fps=options.fps,
        threshold=options.threshold,
        window=options.window,
        overlap=overlap,
        formats=options.formats or FORMATS,
    )
    for path in (result.video, result.masks, result.json, result.sheet):
        if path is not None:
            print(path)
    print(f"{video.name}: {_summary(result.segments)}")
    if not result.segments["has_sound"]:
        print(f"ccformer: warning: {video}: has no sound track; the model was told that it is silent", file=sys.stderr)


def _summary(segments: dict) -> str:
    """`in 5.0 s sounds: dog (3.0 s), bell (1.0 s)`"""
    seconds: dict[str, float] = {}
    for frame in segments["frames"]:
        for entry in frame["sounding"]:
            seconds[entry["class"]] = seconds.get(entry["class"], 0.0) + frame["end"] - frame["start"]
    longest_first = sorted(seconds, key=seconds.get, reverse=True)
    sounding = ", ".join(f"{name} ({seconds[name]:.1f} s)" for name in longest_first)
    return f"in {segments['source']['duration']:.1f} s sounds: {sounding or 'nothing above the threshold'}"


def _succeeds(action: Callable[[], object]) -> bool:
    """Whether `action` runs through; tells on one line why it does not."""
    try:
        action()
    except (OSError, ValueError) as error:
        tell_error(error)
        return False
    return True
