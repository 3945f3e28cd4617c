"""What is mutated: small whole folders of each kind."""

from pathlib import Path

from made_media import SoundTrack, VideoTrack, paint_moving_square, write_media
from small_model import save_small_model

from .trials import make_small_set, train_small

CONTAINERS = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "aac"),
    "mkv": ("libx264", "libopus"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "libmp3lame"),
    "ts": ("libx264", "mp2"),
    "flv": ("libx264", "aac"),
    "gif": ("gif", ""),
}
RATE = 48000  # which all these codecs take
PIX_FMTS = {"gif": "rgb8"}


def make_media(folder: Path) -> list[Path]:
    """A folder for each container, with one clip of 2 s."""
    save_small_model(folder / "model")  # that looks at them
    made = []
    for name, (pictures, sound) in CONTAINERS.items():
        place = folder / name
        place.mkdir(parents=True)
        track = VideoTrack(
            seconds=2,
            fps=5,
            paint=paint_moving_square,
            codec=pictures,
            pix_fmt=PIX_FMTS.get(name, "yuv420p"),
            ticks=100 if name == "gif" else 1000 if name == "avi" else 90000,
        )
        tracks = [track, SoundTrack(seconds=2, rate=RATE, codec=sound)] if sound else [track]
        write_media(place / f"clip.{name}", *tracks)
        made.append(place)
    return made


def make_models(folder: Path) -> list[Path]:
    """A model of random weights, and the same with an index of two weight files and a record."""
    from ccformer_hf.inference.loading import load
    from ccformer_hf.model_card import ModelRecord

    whole = save_small_model(folder / "whole")
    model, processor = load(whole, "cpu")
    model.save_pretrained(folder / "sharded", max_shard_size="60KB")
    processor.save_pretrained(folder / "sharded")
    ModelRecord(trained_on="clips", scores={"miou": 0.5}, recipe={"batch_size": 2}, steps=3).write(folder / "sharded")
    return [whole, folder / "sharded"]


def make_data(folder: Path) -> list[Path]:
    """The three settings of AVSBench and a folder of clips, drawn; and one of them converted."""
    from ccformer_hf.data.convert import convert
    from ccformer_hf.data.synthetic.clips import write_synthetic_set

    made = [
        write_synthetic_set(folder / setting, setting, clips=3, seed=0, workers=1, progress=False, size=32)
        for setting in ("s4", "ms3", "avss", "folder")
    ]
    convert(made[1], folder / "converted", workers=1, progress=False)
    return [*made, folder / "converted"]


def make_states(folder: Path) -> list[Path]:
    """A run at its end; `data` lies beside it."""
    make_small_set(folder / "data")
    train_small(folder / "data", folder / "run", resume=False)
    return [folder / "run"]


MAKERS = {"media": make_media, "models": make_models, "data": make_data, "states": make_states}
