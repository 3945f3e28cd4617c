import errno
import json
import os
import warnings
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import planted
import pytest
from made_media import SIZE, SoundTrack, VideoTrack, frames_with_alpha, make_video, write_media
from PIL import Image

from ccformer_hf.inference import contained_media, segmenting
from ccformer_hf.inference import results as module
from ccformer_hf.inference.following import FollowedFrame
from ccformer_hf.inference.objects import Look, SeenObject, object_map, several_of_a_class, small_regions
from ccformer_hf.inference.results import FORMATS, USUAL_FORMATS
from ccformer_hf.inference.rle import decoded
from ccformer_hf.inference.segmenting import iter_segments, segment_video
from ccformer_hf.inference.segments_json import readable_name
from ccformer_hf.inference.visualize import PALETTE, YuvOverlay
from ccformer_hf.model.instances_ccformer import ObjectNumbers
from ccformer_hf.model.media_ccformer import MediaError, MediaWarning, SoundReader, iter_frames, probe

posix = pytest.mark.skipif(os.name != "posix", reason="names are text there")
MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"


def names(folder: Path) -> list[str]:
    """What a user sees in a folder."""
    return sorted(item.name for item in folder.iterdir() if not item.name.startswith("."))


def usual_files() -> list[str]:
    return sorted(FORMATS[name] for name in USUAL_FORMATS)


@pytest.fixture(scope="module")
def result(loaded, video, threshold, tmp_path_factory):
    return segment_video(video, tmp_path_factory.mktemp("out") / "deep" / "er", loaded, threshold=threshold)


def test_the_four_outputs(result, video, loaded, threshold):
    assert result.folder.name == "clip"
    assert names(result.folder) == usual_files()
    made, source = probe(result.video), probe(video)
    assert (made.width, made.height) == SIZE
    assert abs(made.duration - source.duration) <= 1 / source.fps
    assert made.has_audio and made.audio_rate == 16000
    assert len(list(iter_frames(result.video))) == 40
    looks = list(iter_segments(video, *loaded, fps=4, threshold=threshold))
    files = sorted(result.masks.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.png" for i in range(16)]
    for look, file in zip(looks, files, strict=True):
        with Image.open(file) as image:
            assert image.mode == "P"
            assert (np.array(image) == look.class_map).mean() > 0.7  # with edges of its own
            assert np.array(image.getpalette()).reshape(-1, 3)[3].tolist() == PALETTE[3].tolist()
    with Image.open(result.sheet) as sheet:
        assert sheet.width == 1400 and sheet.height > 400


def test_json_says_what_the_masks_show(result, video, threshold):
    segments = json.loads(result.json.read_text())
    assert segments == result.segments
    assert set(segments) == {"model", "source", "fps", "threshold", "classes", "objects", "frames"}
    assert segments["model"] == {"name": "small", "trained_on": None}
    source = segments["source"]
    assert (source["file"], source["width"], source["height"], source["fps"]) == ("clip.mp4", 96, 64, 10)
    assert source["duration"] == pytest.approx(4.0, abs=0.03) and source["has_audio"] is True
    assert segments["threshold"] == threshold
    assert segments["classes"] == {"0": "background", "1": "bell", "2": "dog", "3": "drum"}
    assert [frame["index"] for frame in segments["frames"]] == list(range(16)) and segments["fps"] == 4
    boxes, heard = 0, {}
    for frame in segments["frames"]:
        assert set(frame) == {"index", "time", "start", "end", "has_audio", "unseen", "sounding"}
        ids = np.array(Image.open(result.masks / f"{frame['index']:06d}.png"))
        assert {entry["id"] for entry in frame["sounding"]} == set(np.unique(ids).tolist()) - {0}
        for entry in frame["sounding"]:
            assert set(entry) == {"label", "id", "score", "area", "boxes", "objects"}
            mask = ids == entry["id"]
            parts = [decoded(seen["rle"]) for seen in entry["objects"]]
            assert (sum(part.astype(int) for part in parts) == mask).all()  # together they are the mask
            heard |= {seen["id"]: entry["id"] for seen in entry["objects"]}
            assert segments["classes"][str(entry["id"])] == entry["label"]
            assert entry["area"] == pytest.approx(mask.mean(), abs=1e-6)
            assert 0 < entry["score"] <= 1
            for x0, y0, x1, y1 in entry["boxes"]:
                assert mask[y0:y1, [x0, x1 - 1]].any(axis=0).all() and mask[[y0, y1 - 1], x0:x1].any(axis=1).all()
                boxes += 1
            covered = np.zeros_like(mask)
            for x0, y0, x1, y1 in entry["boxes"]:
                covered[y0:y1, x0:x1] = True
            assert (mask & ~covered).mean() < 0.01  # specks only
    assert boxes > 0
    assert heard == {one["id"]: one["class_id"] for one in segments["objects"]}
    assert {one["id"] for one in segments["objects"]} == set(range(1, len(heard) + 1))


def test_every_frame_gets_its_own_mask(loaded, tmp_path):
    times = [0, 0.1, 0.15, 0.5, 1.2]
    path = write_media(tmp_path / "clip.mkv", VideoTrack(size=SIZE, times=times), SoundTrack(seconds=2))
    shown = []
    with pytest.MonkeyPatch.context() as patch:
        add = module._Overlay.add
        patch.setattr(
            module._Overlay, "add", lambda *given: shown.append((given[1].looks[0].index, given[2])) or add(*given)
        )
        made = segment_video(path, tmp_path / "out", loaded, fps="all", formats=("video", "json"))
    assert [index for index, _ in shown] == list(range(5)) and [time for _, time in shown] == pytest.approx(times)
    assert made.segments["fps"] == pytest.approx(probe(path).fps)
    assert [time for time, _ in iter_frames(made.video)] == pytest.approx(times, abs=0.002)


def finding(map_of, scores):
    """In place of `follow`: what `map_of(time)` says of each frame."""

    def follow(watched, predict, samples, threshold, processor):
        watched, index, numbers = list(watched), 0, ObjectNumbers()
        list(predict(picture for _, _, count, picture in watched for _ in range(count)))  # thumbnails are kept there
        for time, small, count, _ in watched:
            looks, found = [], map_of(time)
            parts = small_regions(found, small.shape[:2])
            objects = [
                SeenObject(n, *part[:1], 0.9, part[1]) for n, part in zip(numbers.number(parts), parts, strict=True)
            ]
            owners = object_map(found, [(one.number, one.class_id, one.mask) for one in objects])
            heard = {class_id: score for class_id, score in scores.items() if (found == class_id).any()}
            for _ in range(count):
                times = samples.times[index], samples.starts[index], samples.ends[index]
                looks.append(Look(index, *times, found, heard, True, 0.2, objects, owners))
                index += 1
            classes = {one.number: one.class_id for one in objects}
            several = several_of_a_class(objects)
            yield FollowedFrame(time, found, owners if several else None, classes if several else {}, looks)

    return follow


def test_overlay_and_masks_of_every_frame_agree(loaded, video, tmp_path, monkeypatch):
    """The left half is marked in every other frame, the right half in those between."""

    def halves(time):
        class_map = np.zeros((64, 96), dtype=np.uint8)
        left = 48 * (round(10 * time) % 2)
        class_map[:, left : left + 48] = 3
        return class_map

    monkeypatch.setattr(segmenting, "follow", finding(halves, {3: 0.9}))
    result = segment_video(video, tmp_path, loaded, formats=["video", "masks"], masks="every-frame")
    assert names(result.folder) == ["masks", "overlay.mp4"]
    files = sorted(result.masks.iterdir())
    assert [file.name for file in files] == [f"{number:06d}.png" for number in range(40)]
    frames = zip(iter_frames(video), iter_frames(result.video), files, strict=True)
    for number, ((time, before), (same, after), file) in enumerate(frames):
        assert same == pytest.approx(time, abs=0.001)
        assert (np.array(Image.open(file)) == halves(time)).all()
        change = np.abs(after.astype(int) - before)[20:].mean(axis=(0, 2))
        left, right = change[4:44].mean(), change[52:92].mean()
        assert (left > 5 * right) if number % 2 == 0 else (right > 5 * left)


def test_the_video_cut_out_and_what_sounds_when(loaded, tmp_path, monkeypatch):
    """The left half sounds from 0.5 s on."""

    def from_half_on(time):
        class_map = np.zeros((64, 96), dtype=np.uint8)
        class_map[:, :48] = 3 * (time > 0.45)
        return class_map

    video = write_media(tmp_path / "clip.mkv", VideoTrack(size=SIZE, times=[0, 0.3, 0.5, 0.8]))
    monkeypatch.setattr(segmenting, "follow", finding(from_half_on, {3: 0.9}))
    result = segment_video(video, tmp_path / "out", loaded, formats=["matte", "csv", "srt", "vtt"])
    assert names(result.folder) == ["matte.webm", "sounds.csv", "sounds.srt", "sounds.vtt"]
    assert (result.video, result.json) == (None, None)
    cut_out = frames_with_alpha(result.matte)
    assert [time for time, _ in cut_out] == pytest.approx([0, 0.3, 0.5, 0.8], abs=0.002)
    for time, alpha in cut_out:
        assert ((alpha[:, :44] > 200) == (time > 0.45)).all() and (alpha[:, 52:] < 50).all()
    start, *_ = result.csv.read_text().splitlines()[1].split(",")
    assert result.srt.read_text().startswith(f"1\n00:00:{float(start):06.3f} -->".replace(".", ","))
    assert result.vtt.read_text().splitlines()[3] == "drum"


def test_objects_of_one_class_are_told_apart_in_the_overlay(loaded, video, tmp_path, monkeypatch):
    """Two squares of class 3, of one colour in the masks."""
    two = np.zeros((64, 96), dtype=np.uint8)
    two[20:60, 8:40] = two[20:60, 56:88] = 3
    legends = []
    monkeypatch.setattr(segmenting, "follow", finding(lambda time: two, {3: 0.9}))
    monkeypatch.setattr(module, "YuvOverlay", lambda *given: legends.append(given[3]) or YuvOverlay(*given))
    result = segment_video(video, tmp_path, loaded, formats=["video", "json"])
    assert legends == [{1: "drum 1", 2: "drum 2"}] * 40
    assert [(one["id"], one["label"], len(one["spans"])) for one in result.segments["objects"]] == [
        (1, "drum", 1),
        (2, "drum", 1),
    ]
    _, before = next(iter_frames(video))
    _, after = next(iter_frames(result.video))
    change = (after.astype(int) - before)[28:52]
    left, right = change[:, 14:34].mean((0, 1)), change[:, 62:82].mean((0, 1))
    assert np.abs(left - right).max() > 25  # the second is darker
    assert names(result.folder) == ["overlay.mp4", "segments.json"]
    assert not [item for item in result.folder.iterdir() if item.name.startswith(".") and item.name != ".source"]


def test_frames_without_a_mask_go_to_the_encoder_as_they_were_decoded(loaded, video, tmp_path, monkeypatch):
    written = []
    write = module.VideoWriter.write_yuv
    monkeypatch.setattr(
        module.VideoWriter, "write_yuv", lambda self, frame, time: written.append(frame) or write(self, frame, time)
    )
    result = segment_video(video, tmp_path, loaded, threshold=1.0, formats=["video"])
    with av.open(str(video)) as source, av.open(str(result.video)) as made:
        decoded = [frame.to_ndarray() for frame in source.decode(video=0)]
        colours = [
            (c.colorspace, c.color_primaries, c.color_trc)
            for c in (source.streams.video[0].codec_context, made.streams.video[0].codec_context)
        ]
    assert len(written) == len(decoded) == 40 and all((a == b).all() for a, b in zip(written, decoded, strict=True))
    assert colours[0] == colours[1]


def test_what_nobody_asked_for_is_not_made(loaded, video, tmp_path, monkeypatch):
    def made(*_):
        raise AssertionError

    watched = []
    watch = segmenting.iter_watched_frames
    monkeypatch.setattr(
        segmenting, "iter_watched_frames", lambda *given: (watched.append(one) or one for one in watch(*given))
    )
    for name in ("_save_mask", "VideoWriter", "iter_yuv_frames", "_sheet", "loudness"):
        monkeypatch.setattr(module, name, made)
    result = segment_video(video, tmp_path, loaded, formats=["json"], masks="every-frame")
    assert names(result.folder) == ["segments.json"]
    assert len(watched) == 16 and all(picture is not None for *_, picture in watched)  # the looks alone


def test_formats_and_a_second_run_replaces_the_first(loaded, video, tmp_path):
    first = segment_video(video, tmp_path, loaded, formats=["json", "masks"], threshold=0.0)
    assert names(first.folder) == ["masks", "segments.json"]
    assert first.video is None and first.sheet is None
    second = segment_video(video, tmp_path, loaded, formats=["sheet"])
    assert names(second.folder) == ["contact_sheet.png"]
    assert os.listdir(tmp_path) == ["clip"]


@pytest.mark.parametrize("broken", ["_save_mask", "VideoWriter", "_sheet"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_nothing_half_written(monkeypatch, loaded, video, tmp_path, broken, error):
    def fail(*_):
        raise error

    earlier = segment_video(video, tmp_path / "earlier", loaded, formats=["json"])
    content = earlier.json.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(module, broken, fail)
        segment_video(video, tmp_path / "new" / "deep", loaded)
    assert not (tmp_path / "new").exists()
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(module, broken, fail)
        segment_video(video, tmp_path / "earlier", loaded)
    assert os.listdir(tmp_path / "earlier") == ["clip"]
    assert names(earlier.folder) == ["segments.json"] and earlier.json.read_bytes() == content


@posix
def test_a_name_that_is_no_utf8_and_one_that_is_long(loaded, tmp_path):
    for name in (b"caf\xe9", "\u65e5".encode() * 82 + b"ab"):
        path = make_video(tmp_path / "clip.mp4", 0.5).rename(
            os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b".mp4")
        )
        result = segment_video(path, tmp_path / "out", loaded)
        assert os.fsencode(result.folder.name) == name and names(result.folder) == usual_files()
        file = json.loads(result.json.read_text(encoding="utf-8"))["source"]["file"]
        assert file == ("caf\\xe9.mp4" if name[:3] == b"caf" else path.name)
    assert readable_name("a/line\nand \x1b[31mred.mp4") == "line\\nand \\x1b[31mred.mp4"


def test_an_output_folder_that_cannot_be(loaded, video, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written to"):
        segment_video(video, tmp_path / "file", loaded)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not MEDIA.exists(), reason="needs the shared media")
@pytest.mark.parametrize("name", ["friday.mp4", "nasa_13013.mp4", "s4_p04SYXuBSQ_dog.mp4"])
def test_real_videos(loaded, tmp_path, name):
    result = segment_video(MEDIA / name, tmp_path, loaded, formats=["video", "json", "masks"])
    made, source = probe(result.video), probe(MEDIA / name)
    assert abs(made.duration - source.duration) <= 1 / source.fps
    assert (made.width, made.height) == (source.width, source.height)
    assert (made.audio_rate, made.audio_channels) == (source.audio_rate, source.audio_channels)
    with Image.open(result.masks / "000000.png") as image:
        assert image.size == (source.width, source.height)
    assert replace(made, path="", duration=0, fps=0) == replace(source, path="", duration=0, fps=0, rotation=0)


def test_an_unknown_format_is_refused(loaded, video, tmp_path):
    with pytest.raises(ValueError, match="formats is"):
        segment_video(video, tmp_path / "out", loaded, formats=["gif"])
    assert not (tmp_path / "out").exists()


def test_a_video_without_sound_works_and_is_told(loaded, tmp_path):
    path = make_video(tmp_path / "mute.mp4", 2.0, sound=False)
    result = segment_video(path, tmp_path / "out", loaded, threshold=0.0)
    assert result.segments["source"]["has_audio"] is False
    assert not any(frame["has_audio"] for frame in json.loads(result.json.read_text())["frames"])
    assert not probe(result.video).has_audio
    assert result.sheet.exists()


def test_two_classes_of_one_name_stay_apart(loaded, video, tmp_path, monkeypatch):
    model, processor = loaded
    monkeypatch.setattr(model.config, "id2label", {0: "background", 1: "dog", 2: "cat", 3: "dog"})

    class_map = np.repeat(np.array([1, 3], np.uint8), 32)[:, None].repeat(96, axis=1)
    legends = []
    monkeypatch.setattr(segmenting, "follow", finding(lambda time: class_map, {3: 0.9, 1: 0.8}))
    monkeypatch.setattr(module, "YuvOverlay", lambda *given: legends.append(given[3]) or YuvOverlay(*given))
    result = segment_video(video, tmp_path, loaded, formats=["video", "json", "sheet"])
    for frame in result.segments["frames"]:
        assert [(e["label"], e["id"], e["area"]) for e in frame["sounding"]] == [("dog", 3, 0.5), ("dog", 1, 0.5)]
    assert legends == [{1: "dog (1)", 3: "dog (3)"}] * 40


@posix
def test_a_crash_in_the_middle_names_the_file_and_leaves_nothing(loaded, video, tmp_path, monkeypatch):
    monkeypatch.setattr(contained_media, "_yuv_frames", planted.crash_in_frames)
    with pytest.raises(MediaError, match=f"^{video}: reading it crashed"):
        segment_video(video, tmp_path / "out", loaded, formats=["video"])
    assert not (tmp_path / "out").exists()


@posix
def test_sound_that_crashes_is_left_out_and_said_so(loaded, video, tmp_path, monkeypatch):
    monkeypatch.setattr(contained_media, "_sounds", planted.crash_in_sounds)
    with pytest.warns(MediaWarning, match=f"{video}: its sound cannot be read to its end .*reading it crashed"):
        result = segment_video(video, tmp_path, loaded, formats=["json", "sheet"], threshold=0.0)
    assert len(result.segments["frames"]) == 16 and result.segments["frames"][0]["has_audio"]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e37])
def test_samples_that_are_no_numbers(loaded, tmp_path, value):
    waveform = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    waveform[4000:4100] = value
    path = write_media(tmp_path / "odd.mkv", VideoTrack(size=SIZE), SoundTrack(waveform=waveform, codec="pcm_f32le"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        result = segment_video(path, tmp_path / "out", loaded)
    assert [str(w.message) for w in told] == [f"{path}: {contained_media.SILENCED}"]
    assert result.segments["frames"][0]["has_audio"] and probe(result.video).has_audio
    with SoundReader(result.video) as sound:
        samples = sound.read(0, 16000)
    assert np.isfinite(samples).all() and 0.05 < np.abs(samples[6000:]).max() < 1


def test_sound_of_garbage_is_left_out_and_said_so(loaded, tmp_path):
    path = write_media(tmp_path / "odd.mkv", VideoTrack(size=SIZE), SoundTrack(codec="ac3", rate=48000))
    content = path.read_bytes()
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            content = content.replace(bytes(packet), b"\x55" * packet.size) if packet.size else content
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        result = segment_video(path, tmp_path / "out", loaded)
    assert [str(w.message) for w in told] == [f"{path}: its sound cannot be decoded and is left out"]
    assert not result.segments["source"]["has_audio"] and not result.segments["frames"][0]["has_audio"]


@pytest.mark.skipif(os.name != "posix", reason="the disk is filled by a limit of POSIX")
def test_a_full_disk_is_told_with_the_name_of_the_result(loaded, video, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_save_mask", full)
    with pytest.raises(OSError, match=r"out/clip: cannot be written \(No space left on device\); make room"):
        segment_video(video, tmp_path / "out", loaded)
    assert not (tmp_path / "out").exists()
