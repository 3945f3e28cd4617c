"""`ccformer segment`: masks over whatever sounds in videos."""

import argparse
import csv
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import atomic_file
from ..checkpoints import BUILT_IN_MODELS, CHECKPOINTS, DEFAULT_MODEL, TINY_MODEL
from ..shared_work import SharedWork
from .arguments import add_command, add_device, at_least, quiet_transformers, rate_or_all, share, tell
from .live import segment_live_source

if TYPE_CHECKING:
    from ..inference.segments_json import Segments

EXAMPLE_CLIP = CHECKPOINTS / "example.mp4"
USUAL_FORMATS = ("video", "masks", "json", "sheet")
FORMATS = (*USUAL_FORMATS, "matte", "csv", "srt", "vtt")
MASKS = ("looks", "every-frame")
DEFAULT_FPS = 4.0
REPORT_FILE = "report.csv"
SHOWN_CLASSES = 30

SEGMENT_EXAMPLES = """\
examples:
  ccformer segment                                the clip that ships with the package -> ccformer-output/example/
  ccformer segment holiday.mp4 -o results         one video -> results/holiday/
  ccformer segment *.mp4 --format json            segments.json only, of many videos
  ccformer segment talk.mp4 --format json,srt,vtt     what sounds when, as JSON and as subtitles
  ccformer segment recordings 'more/**/*.mp4'     all videos of a folder, and what a pattern matches
  ccformer segment https://host/clip.mp4 hf://datasets/owner/name/clip.mp4     from the web, from the Hub
  ccformer segment - < clip.mp4                   from standard input -> ccformer-output/stdin/
  ccformer segment drums.mov --fps 8              the model looks 8 times per second instead of 4
  ccformer segment drums.mov --model runs/mine/best     a model folder of your own, or owner/name on the Hub
  accelerate launch -m ccformer_hf segment *.mp4 --resume     a process per GPU, on one machine or several
  ccformer segment --live rtsp://camera/1         while it comes in -> ccformer-output/live-DATE/
  ffmpeg -f v4l2 -i /dev/video0 -f alsa -i default -flush_packets 1 -f mpegts - | ccformer segment --live -
                                                  camera and microphone

In the folder of each video: overlay.mp4 (masks laid over it, own sound), masks/ (a PNG of class ids per look
of the model), segments.json (what sounds when and where) and contact_sheet.png (frames and a timeline). On request
matte.webm (the video cut out, transparent where nothing sounds), sounds.csv, sounds.srt and sounds.vtt (what sounds
when: a table, subtitles). The sound is not taken apart: no file has the sound of one object alone.

The folder is called like the video: clip. A result of the same video in it is replaced, nothing else: where another
video of that name was there first, it is called clip.mp4, else clip.mp4 (2), ...

A video that cannot be read, or that crashes its reader, is reported, and the next one follows; of several videos
report.csv tells what became of each. Several processes share them, whoever is free takes the next. The same command
with --resume goes on where a run was stopped; with another --format it adds to what is there.

With --live the newest picture is taken, with the sound before it, and others are left out rather than fall behind: a
line for each says what sounds and how late it is told; segments.jsonl holds them all, overlay.jpg the newest.
exit code: 0 all done; 1 some of several videos failed; 2 all failed, or wrong arguments; 128 + the number of the
signal that stopped it: 130 Ctrl-C, 143 SIGTERM
"""


def add_segment(commands) -> None:
    """Adds the command to the parser's commands."""
    segment = add_command(
        commands,
        "segment",
        help="lay masks over what sounds in videos",
        description="Lays a mask over whatever makes the sound in each video, and writes what sounds when and where.",
        epilog=SEGMENT_EXAMPLES,
    )
    add = segment.add_argument
    add(
        "videos",
        nargs="*",
        metavar="VIDEO",
        help="files, folders of videos, patterns such as '*.mp4', addresses (https://..., hf://OWNER/NAME/FILE), or - "
        "for standard input; none: the clip that ships with the package",
    )
    add("-o", "--output", default="ccformer-output", metavar="DIR", help="output folder (default: %(default)s)")
    add(
        "--model",
        help=f"model folder or Hub id (default: {DEFAULT_MODEL}, which ships with the package, like {TINY_MODEL})",
    )
    add(
        "--fps",
        type=rate_or_all,
        default=DEFAULT_FPS,
        help="looks of the model per second, or all frames (default: %(default)g)",
    )
    add("--masks", choices=MASKS, default="looks", help="a PNG per look, or per frame of the video (default: looks)")
    add("--threshold", type=share, default=0.5, help="0..1, higher marks less (default: %(default)g)")
    add_device(segment)
    add(
        "--format",
        dest="formats",
        action="extend",
        type=_formats,
        metavar="FORMAT,...",
        help=f"what to write, of {', '.join(FORMATS)}; may be given again (default: {','.join(USUAL_FORMATS)})",
    )
    add(
        "--live",
        action="store_true",
        help="VIDEO is a stream that is coming in: rtsp://..., http://..., /dev/video0, or - for standard input",
    )
    add(
        "--resume",
        action="store_true",
        help="leave out videos whose result is there, of the same file, model and settings",
    )
    add("--window", type=at_least(1), default=10, help="frames the model sees at a time (default: %(default)s)")
    add("--overlap", type=at_least(0), help="frames that neighbouring windows share (default: a fifth of the window)")
    segment.set_defaults(run=_segment)


def _formats(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def _segment(options: argparse.Namespace) -> int:
    from ..inference.contained_media import probe
    from ..inference.named_videos import named_videos, video_file
    from ..model.inference_settings_ccformer import InferenceSettings
    from ..model.media_ccformer import ALL_FRAMES

    overlap = options.window // 5 if options.overlap is None else options.overlap
    try:
        settings = InferenceSettings(options.fps, options.threshold, options.window, overlap)
    except ValueError as error:
        options.parser.error(str(error))
    if options.live:
        if len(options.videos) != 1 or options.formats or options.resume or options.fps == ALL_FRAMES:
            options.parser.error(
                "--live takes one source, and neither --format, --resume nor --fps all, such as: ccformer segment "
                "--live rtsp://camera/1"
            )
        options.model = options.model or DEFAULT_MODEL
        return segment_live_source(options)
    if not options.videos:
        print(f"no video named: taking the clip that ships with the package, {EXAMPLE_CLIP.name}")
    # That clip is drawn: it is for the checkpoint that knows drawings.
    options.model = options.model or (DEFAULT_MODEL if options.videos else TINY_MODEL)
    videos = named_videos(options.videos) or [str(EXAMPLE_CLIP)]
    output = Path(options.output)

    work = SharedWork()
    model, outcomes, speaks = None, [], False
    for number in work.take(len(videos)):
        speaks = speaks or number == 0  # of several processes one says what all have in common
        with media_warnings_printed(), ExitStack() as fetched:
            video = Path(videos[number])
            try:  # before PyTorch is loaded, which takes seconds
                video = fetched.enter_context(video_file(videos[number], output))
                probe(video)
            except (OSError, ValueError) as error:
                outcomes.append(_failed(number, videos[number], video, error))
                continue
            if model is None:
                if sys.stderr.isatty():  # like the progress bar; importing PyTorch and transformers takes seconds
                    print(f"loading {options.model} ...", file=sys.stderr, flush=True)
                model = _load(options, speaks)
            try:
                outcome, folder = _segment_one(video, model, settings, options)
                outcomes.append([number, outcome, str(folder), ""])
            except (OSError, ValueError) as error:
                outcomes.append(_failed(number, videos[number], video, error))
            except Exception as error:
                if len(videos) == 1:
                    raise
                traceback.print_exc()  # a bug of this package, which must not cost the other videos
                outcomes.append([number, "failed", "", f"{type(error).__name__}: {error}"])
    outcomes = work.gather(outcomes)
    if outcomes is None:  # the main one of several processes reports
        return 0
    failed = sum(outcome == "failed" for _, outcome, _, _ in outcomes)
    if len(videos) > 1:
        print(_write_report(output, videos, outcomes))
        print(f"{len(videos) - failed} of {len(videos)} videos done, {failed} failed")
    if not failed:
        return 0
    return 1 if failed < len(videos) else 2


def _failed(number: int, word: str, video: Path, error: Exception) -> list:
    """Tells an error of a video, and gives its outcome."""
    from ..model.media_ccformer import shown_path

    text = str(error)
    if str(video) != word:  # it was fetched, and is gone by now
        text = text.replace(shown_path(video), word)
    tell("error", text)
    return [number, "failed", "", text]


def _write_report(output: Path, videos: Sequence[str], outcomes: Sequence[list]) -> Path:
    """A table of all videos, in the order in which they were named: what became of each, where it is, or why not."""
    from ..model.media_ccformer import shown_path

    output.mkdir(parents=True, exist_ok=True)
    with atomic_file(output / REPORT_FILE) as path, open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video", "outcome", "folder", "reason"])
        for number, *outcome in sorted(outcomes):
            table.writerow(map(shown_path, [videos[number], *outcome]))  # names may hold bytes that are no text
    return output / REPORT_FILE


@contextmanager
def media_warnings_printed() -> Iterator[None]:
    """Each fault of a video that is used all the same, on one line and once."""
    from ..model.media_ccformer import MediaWarning

    with warnings.catch_warnings():
        show = warnings.showwarning
        warnings.simplefilter("default", MediaWarning)
        warnings.showwarning = lambda message, kind, *place: (
            tell("warning", str(message)) if issubclass(kind, MediaWarning) else show(message, kind, *place)
        )
        yield


def _load(options: argparse.Namespace, speaks: bool):
    from ..inference.loading import load, trained_on

    quiet_transformers()
    model, processor = load(options.model, options.device)
    if speaks and options.model in BUILT_IN_MODELS:
        classes = ", ".join(name for class_id, name in model.config.id2label.items() if class_id)
        print(f"{options.model} was trained on {trained_on(model)}. It knows these only: {classes}")
    return model, processor


def _segment_one(video: Path, model, settings, options: argparse.Namespace) -> tuple[str, Path]:
    """What became of a video, `done` or `done before`, and the folder of its result."""
    from ..inference.result_folder import earlier_result, made_with
    from ..inference.segmenting import segment_video
    from ..inference.segments_json import readable_name

    formats = options.formats or USUAL_FORMATS
    if options.resume:
        marks = made_with(video, *model, settings, options.masks)
        folder, there = earlier_result(Path(options.output), video, marks)
        if set(formats) <= set(there):
            print(f"{readable_name(video)}: done before, see {folder}")
            return "done before", folder
        formats = {*formats, *there}  # the folder is replaced as a whole: what is in it is written again
    result = segment_video(
        video, options.output, model=model, **asdict(settings), formats=formats, masks=options.masks
    )
    for name in FORMATS:
        if (path := getattr(result, name)) is not None:
            print(path)
    print(f"{readable_name(video)}: {_summary(result.segments)}")
    if hint := _hint(result.segments):
        print(hint)
    if not result.segments["source"]["has_audio"]:
        tell("warning", f"{video}: has no sound track that can be used; it counts as silent")
    return "done", result.folder


def _hint(segments: "Segments") -> str:
    """What to try where sound was heard and nothing was found; else nothing."""
    if _is_silent(segments) or any(frame["sounding"] for frame in segments["frames"]):
        return ""
    lower, threshold = round(segments["threshold"] / 2, 2), segments["threshold"]
    classes = [name for class_id, name in segments["classes"].items() if class_id != "0"]
    known = ", ".join(classes[:SHOWN_CLASSES]) + (", ..." if len(classes) > SHOWN_CLASSES else "")
    tries = [f"--threshold {lower:g} (now {threshold:g}) marks what is less sure"] if threshold else []
    tries += [f"--fps {2 * segments['fps']:g} (now {segments['fps']:g}) looks more often"]
    tries += [f"--model takes one that knows what sounds here; this one knows: {known}"]
    return f"to find more: {'; '.join(tries)}"


def _is_silent(segments: "Segments") -> bool:
    return not any(frame["has_audio"] for frame in segments["frames"])


def _summary(segments: "Segments") -> str:
    """`in 5.0 s sounds: dog (3.0 s), bell (1.0 s); not in view, or unknown: 1.0 s`"""
    from ..inference.segments_json import names_by_id, unseen_seconds
    from ..inference.visualize import distinct_names

    seconds: Counter[int] = Counter()
    for frame in segments["frames"]:
        for entry in frame["sounding"]:
            seconds[entry["id"]] += frame["end"] - frame["start"]
    names = distinct_names(names_by_id(segments))
    sounding = ", ".join(f"{names[class_id]} ({length:.1f} s)" for class_id, length in seconds.most_common())
    nothing = "nothing, it is silent" if _is_silent(segments) else "nothing above the threshold"
    seconds_unseen = unseen_seconds(segments)
    unseen = f"; not in view, or unknown: {seconds_unseen:.1f} s" if seconds_unseen else ""
    return f"in {segments['source']['duration']:.1f} s sounds: {sounding or nothing}{unseen}"
