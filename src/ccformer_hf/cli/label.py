"""`ccformer data label` and `ccformer data strike`: training clips of videos that nobody has annotated."""

import argparse
from dataclasses import replace
from pathlib import Path

from .arguments import add_command, add_device, at_least, share, tell
from .segment import media_warnings_printed

TAGGER = "MIT/ast-finetuned-audioset-10-10-0.4593"
SEGMENTER = ("IDEA-Research/grounding-dino-tiny", "facebook/sam2.1-hiera-tiny")


def add_label(actions) -> None:
    """Adds the commands to the actions of `ccformer data`."""
    label = add_command(
        actions,
        "label",
        help="make labelled clips of videos without annotation",
        description="Cuts videos into clips, asks an audio tagger what sounds in each second and an open-vocabulary "
        "segmenter where it is, and keeps what agrees over time and between the two; the rest is 255, to be ignored. "
        "Then look at OUT/review.html, and strike out what is wrong with `ccformer data strike OUT`.",
        epilog="examples:\n  ccformer data label videos/*.mp4 -o mine --classes classes.txt\n"
        "  ccformer data label videos/*.mp4 -o mine --tagger laion/clap-htsat-unfused --segmenter facebook/sam3\n\n"
        "A line of the classes file is `name: tagger label; tagger label | prompt`, or a name alone.\n"
        "exit code: 0 all done; 1 some videos could not be used, to their end or at all; 2 all of them, or wrong "
        "arguments",
    )
    add = label.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="videos with sound: files, folders, patterns such as '*.mp4'")
    add("-o", "--output", required=True, metavar="OUT", help="folder to make, as of your own clips")
    add("--classes", metavar="FILE", help="classes to look for, one per line (default: AVSBench's 70)")
    add(
        "--tagger",
        default=TAGGER,
        metavar="MODEL",
        help="folder or Hub id of an AST or a CLAP of transformers (default: %(default)s)",
    )
    add(
        "--segmenter",
        nargs="+",
        default=SEGMENTER,
        metavar="MODEL",
        help=f"folder or Hub id of a SAM 3, or those of a Grounding DINO and a SAM 2 (default: {' '.join(SEGMENTER)})",
    )
    add("--seconds", type=int, choices=(5, 10), default=10, help="length of a clip (default: %(default)s)")
    add("--heard", type=share, default=0.3, help="score of the tagger from which a class sounds (default: 0.3)")
    add(
        "--drawn",
        type=share,
        help="score of the segmenter from which it is in view (default: 0.5 of SAM 3, 0.35 of Grounding DINO)",
    )
    add(
        "--most-classes",
        type=at_least(1),
        default=3,
        help="that can be heard in one second, the surest (default: %(default)s)",
    )
    add_device(label)
    label.set_defaults(run=_label)

    strike = add_command(
        actions,
        "strike",
        help="take out of labelled clips what review.csv says no to",
        description="Where the column keep of OUT/review.csv is no, a class becomes 255 in its clip, to be ignored; "
        "no in the row of the whole clip removes it.",
        epilog="example:\n  ccformer data strike mine",
    )
    strike.add_argument("folder", metavar="OUT", help="folder that `ccformer data label` wrote")
    strike.set_defaults(run=_strike)


def _label(options: argparse.Namespace) -> int:
    from ..labelling.classes import read_classes

    classes = read_classes(options.classes)
    with media_warnings_printed():
        return _label_videos(options, classes)


def _label_videos(options: argparse.Namespace, classes) -> int:
    from transformers.utils import logging

    from ..atomic import refuse_filled_folder
    from ..inference.named_videos import named_videos
    from ..labelling.agreement import Thresholds
    from ..labelling.labelling import label_videos, probe_videos
    from ..labelling.segmenter import load_segmenter
    from ..labelling.tagger import load_tagger

    refuse_filled_folder(Path(options.output))
    thresholds = Thresholds(
        options.heard, Thresholds.drawn if options.drawn is None else options.drawn, options.most_classes
    )
    infos, failed = probe_videos(named_videos(options.videos))  # before the networks are loaded, which takes long
    for fault in failed:
        tell("error", fault)
    if not infos:
        return 2
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    tagger = load_tagger(options.tagger, classes, options.device)
    segmenter = load_segmenter(options.segmenter, options.device)
    if options.drawn is None:
        thresholds = replace(thresholds, drawn=segmenter.drawn)
    made = label_videos(infos, options.output, classes, tagger, segmenter, thresholds, options.seconds)
    for fault in made.failed:
        tell("error", fault)
    told = ", ".join(f"{count} {split}" for split, count in made.clips.items())
    left_out = f", {made.empty} with nothing sure left out" if made.empty else ""
    print(f"{sum(made.clips.values())} clips ({told}){left_out} are in {options.output}")
    marked = ", ".join(f"{name} ({seconds} s)" for name, seconds in made.seconds.most_common())
    print(f"marked: {marked or 'nothing'}; {made.ignored:.0%} of all pixels are ignored")
    print(f"look at {options.output}/review.html, then: ccformer data strike {options.output}")
    return 1 if failed or made.failed else 0


def _strike(options: argparse.Namespace) -> int:
    from ..labelling.review import strike

    classes, clips = strike(options.folder)
    print(f"{classes} classes struck out of clips, {clips} clips removed")
    return 0
