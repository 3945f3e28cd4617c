import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_media import SoundTrack, make_video, write_media
from PIL import Image
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor

import ccformer_hf.auto  # registers the sub-processors, which from_pretrained looks up
from ccformer_hf.data.loading import load_setting
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.model.feature_extraction_ccformer import CCFormerFeatureExtractor
from ccformer_hf.model.image_processing_ccformer import CCFormerImageProcessor
from ccformer_hf.model.processing_ccformer import AudioVisualProcessor

MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"
TINY = Path(ccformer_hf.__file__).parent / "checkpoints" / "ccformer-tiny"
RATE = 16000
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def processor():
    return AudioVisualProcessor(CCFormerImageProcessor(size={"height": 32, "width": 64}))


def pictures(num_frames: int, height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def noise(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def test_one_clip(processor):
    out = processor(pictures(3), noise(3.0), sampling_rate=RATE)
    assert list(out) == ["pixel_values", "input_features", "audio_mask", "frame_mask"]
    assert set(out) == set(processor.model_input_names)
    assert out["pixel_values"].shape == (1, 3, 3, 32, 64) and out["pixel_values"].dtype == torch.float32
    assert out["input_features"].shape == (1, 3, 1, 96, 64)
    assert out["frame_mask"].tolist() == out["audio_mask"].tolist() == [[True, True, True]]


def test_pixels_are_pil_bilinear_and_imagenet_normalised(processor):
    frames = pictures(2)
    pixels = processor(frames)["pixel_values"][0].numpy()
    for frame, given in zip(frames, pixels, strict=True):
        resized = np.asarray(Image.fromarray(frame).resize((64, 32), Image.Resampling.BILINEAR))
        assert np.abs(given - ((resized / 255 - MEAN) / STD).transpose(2, 0, 1)).max() < 1e-5


def test_every_form_of_frames_gives_the_same(processor, tmp_path):
    frames = pictures(2)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    images = [Image.fromarray(frame) for frame in frames]
    wanted = processor(frames)["pixel_values"]
    forms = [
        list(frames),
        torch.from_numpy(frames),
        images,
        paths,
        [str(p) for p in paths],
        [frames],
        frames[None],
        [images],
    ]
    forms += [frames.transpose(0, 3, 1, 2), torch.from_numpy(frames).permute(0, 3, 1, 2) / 255, frames / 255]
    forms += [frames.astype(np.int64), torch.from_numpy(frames / 255).to(torch.float16), {"frames": frames}]
    for form in [*forms, [image.convert("RGBA") for image in images], list(torch.from_numpy(frames))]:
        assert torch.equal(processor(form)["pixel_values"], wanted)


def test_one_picture_is_a_clip_of_one_frame(processor, tmp_path):
    (frame,) = pictures(1)
    Image.fromarray(frame).save(tmp_path / "a.png")
    wanted = processor([frame], noise(1.0), sampling_rate=RATE)
    for form in (Image.fromarray(frame), tmp_path / "a.png", str(tmp_path / "a.png")):
        given = processor(form, noise(1.0), sampling_rate=RATE)
        assert all(torch.equal(values, wanted[name]) for name, values in given.items())


def test_every_form_of_sound_gives_the_same(processor, tmp_path, monkeypatch):
    class AudioDecoder:  # torchcodec's, as far as it is used
        def get_all_samples(self):
            return SimpleNamespace(data=torch.from_numpy(whole / 32768.0)[None].float(), sample_rate=44100)

    monkeypatch.setitem(sys.modules, "torchcodec.decoders", SimpleNamespace(AudioDecoder=AudioDecoder))
    whole = np.rint(noise(2.0, 44100) * 32768).astype(np.int16)
    floats = whole / np.float32(32768)
    write_media(tmp_path / "a.wav", SoundTrack(waveform=floats, rate=44100, codec="pcm_s16le"))
    wanted = processor(pictures(2), floats, sampling_rate=44100)["input_features"]
    tensor = torch.from_numpy(floats)
    with_rate = [(tensor, 44100), (tensor[None], torch.tensor(44100)), (floats.tolist(), 44100), AudioDecoder()]
    with_rate += [{"array": floats, "sampling_rate": 44100}, {"waveform": whole, "sampling_rate": torch.tensor(44100)}]
    with_rate += [
        {"path": None, "array": floats.tolist(), "sampling_rate": 44100},
        (whole.astype(np.int32) << 16, 44100),
    ]
    for sound in [*with_rate, tmp_path / "a.wav", str(tmp_path / "a.wav")]:
        for rate in (None, 44100):
            assert torch.allclose(
                processor(pictures(2), sound, sampling_rate=rate)["input_features"], wanted, atol=1e-3
            )
    assert torch.equal(processor(pictures(2), whole, sampling_rate=np.array(44100))["input_features"], wanted)
    both = processor([pictures(2)] * 3, [*with_rate[:2], None])
    assert torch.equal(both["input_features"][0], wanted[0]) and both["audio_mask"].sum(1).tolist() == [2, 2, 0]
    with pytest.raises(ValueError, match="10 frames at 1 per second, which is assumed"):
        processor(pictures(10), with_rate[0])


# Rows of a data set


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Training splits of 2 clips, from folders; one whose first frame alone is annotated, one of classes."""
    root = tmp_path_factory.mktemp("sets")
    for setting in ("s4", "folder"):
        write_synthetic_set(root / setting, setting, clips=4, seed=0, workers=1, progress=False, size=32)
    return {setting: load_setting(setting, root / setting, "train") for setting in ("s4", "folder")}


def columns_of(row: dict) -> dict:
    return {
        "images": row["frames"],
        "audio": row["sound"]["waveform"],
        "sampling_rate": row["sound"]["sampling_rate"],
        "segmentation_maps": row["labels"],
        "label_mask": row["annotated"],
    }


@pytest.mark.parametrize("setting", ["s4", "folder"])
@pytest.mark.parametrize("kind", [None, "torch", "numpy"])
def test_a_row_of_our_own_sets_in_any_format(processor, sets, setting, kind):
    rows = sets[setting].with_format(kind)
    wanted = processor(**columns_of(sets[setting][0]))
    batch = processor([rows[0], rows[1]])
    for given in (processor(rows[0]), {name: values[:1] for name, values in batch.items()}, processor(rows[:1])):
        assert given.keys() == wanted.keys()
        for name, values in given.items():
            assert torch.equal(values, wanted[name]), name
    assert batch["label_mask"].sum(1).tolist() == ([1, 1] if setting == "s4" else [10, 5])
    for name, values in processor(rows[:2]).items():
        assert torch.equal(values, batch[name]), name


def test_a_shard_read_without_our_features_gives_the_same(processor, sets):
    """`datasets` alone gives pictures of class ids, None where there is none, and lists of numbers."""
    clips = [sets["s4"][0], sets["s4"][1]]
    plain = [
        row
        | {
            "labels": [
                Image.fromarray(ids) if told else None
                for ids, told in zip(row["labels"], row["annotated"], strict=True)
            ]
        }
        | {"sound": {name: np.asarray(values).tolist() for name, values in row["sound"].items()}, "annotated": None}
        for row in clips
    ]
    for (name, given), wanted in zip(processor(plain).items(), processor(clips).values(), strict=True):
        assert torch.equal(given, wanted), name


def test_a_row_has_one_frame_per_second_whatever_the_processors_rate(processor, sets):
    quick = AudioVisualProcessor(processor.image_processor, fps=4.0)
    row = sets["folder"][0]
    assert torch.equal(quick(row)["input_features"], processor(row)["input_features"])
    assert not torch.equal(quick(row, fps=2)["input_features"], processor(row)["input_features"])


def test_a_row_with_official_examples(processor):
    examples = np.random.default_rng(0).normal(size=(2, 1, 96, 64)).astype(np.float32)
    row = {"frames": pictures(3), "sound": None, "log_mel": examples, "setting": "s4"}
    repeated = processor(row)["input_features"][0]
    assert torch.equal(repeated, torch.from_numpy(examples[[0, 1, 1]]))
    batch = processor([row | {"setting": "avss"}, row | {"sound": (noise(3.0), RATE)}, row | {"log_mel": None}])
    assert torch.equal(batch["input_features"][0, :2], repeated[:2]) and not batch["input_features"][0, 2].any()
    wanted = processor(pictures(3), (noise(3.0), RATE))["input_features"][0]
    assert torch.equal(batch["input_features"][1], wanted)
    assert batch["audio_mask"].tolist() == [[True] * 3, [True] * 3, [False] * 3] and "labels" not in batch


def test_a_clip_in_a_padded_batch_is_the_clip_alone(processor):
    # Different lengths, picture sizes and rates, one without sound.
    clips = [pictures(1), list(pictures(3, 50, 30, seed=1)), pictures(2, 32, 64, seed=2)]
    sounds = [noise(1.0), None, np.stack([noise(2.0, 44100)] * 2)]
    rates = [RATE, None, 44100]
    batch = processor(clips, sounds, sampling_rate=rates)
    assert batch["pixel_values"].shape == (3, 3, 3, 32, 64)
    assert batch["frame_mask"].tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert batch["audio_mask"].tolist() == [[True, False, False], [False, False, False], [True, True, False]]
    for row, (clip, sound, rate) in enumerate(zip(clips, sounds, rates, strict=True)):
        alone = processor(clip, sound, sampling_rate=rate)
        for name, values in alone.items():
            assert torch.equal(batch[name][row, : len(clip)], values[0]), name
            assert not batch[name][row, len(clip) :].any(), name


def test_sound_is_aligned_by_the_times_of_the_frames(processor):
    click = np.zeros(5 * RATE, np.float32)
    click[round(2.5 * RATE)] = 1.0
    # Frames at 1 per second: the third hears 2.0-2.975 s.
    assert processor(pictures(5), click, sampling_rate=RATE)["audio_mask"].tolist() == [
        [False, False, True, False, False]
    ]
    # Two frames in the same five seconds of sound: only the one whose own second holds the click.
    assert processor(pictures(2), click, sampling_rate=RATE, timestamps=[0.9, 3.0])["audio_mask"].tolist() == [
        [False, True]
    ]
    # Two frames per second: t = 2.4688 hears 1.5313-2.5063 s, ... t = 3.4688 hears 2.5313-3.5063 s.
    twice = AudioVisualProcessor(processor.image_processor, fps=2.0)
    assert np.flatnonzero(twice(pictures(10), click, sampling_rate=RATE)["audio_mask"][0]).tolist() == [4, 5]


def test_return_tensors(processor):
    clip = {"images": pictures(2), "audio": noise(2.0), "sampling_rate": RATE}
    torch_out = processor(**clip)
    for kind in ("np", None):
        out = processor(**clip, segmentation_maps=np.zeros((2, 4, 4), np.uint8), return_tensors=kind)
        assert all(isinstance(values, np.ndarray) for values in out.values())
        assert np.array_equal(out["pixel_values"], torch_out["pixel_values"])


def test_settings_for_one_call(processor):
    clip = pictures(2)
    wanted = AudioVisualProcessor(CCFormerImageProcessor(size={"height": 16, "width": 24}, do_normalize=False))(clip)
    settings = {"size": {"height": 16, "width": 24}, "do_normalize": False}
    for given in (settings, {"images_kwargs": settings}):
        assert torch.equal(processor(clip, **given)["pixel_values"], wanted["pixel_values"])
    assert processor(clip)["pixel_values"].shape[-2:] == (32, 64)
    sound = {"images": clip, "audio": noise(2.0, 44100)}
    flat, nested = processor(**sound, sampling_rate=44100), processor(**sound, audio_kwargs={"sampling_rate": 44100})
    assert torch.equal(flat["input_features"], nested["input_features"])
    assert isinstance(processor(clip, images_kwargs={"return_tensors": "np"})["frame_mask"], np.ndarray)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"timestmaps": [0.5]}, TypeError, r"cannot be called with 'timestmaps' \(did you mean 'timestamps'\?\)"),
        ({"images_kwargs": {"sise": 64}}, TypeError, r"cannot be called with 'sise' \(did you mean 'size'\?\)"),
        ({"audio_kwargs": {"padding": True}}, TypeError, "cannot be called with 'padding'; beside images"),
        ({"videos_kwargs": {"fps": 2}}, TypeError, "cannot be called with 'fps'; beside images"),
        ({"size": 64, "images_kwargs": {"size": 64}}, ValueError, "size was passed two times"),
        ({"audio": noise(1.0), "sampling_rate": "44.1 kHz"}, ValueError, "sampling_rate is '44.1 kHz'"),
        ({"return_tensors": "tf"}, ValueError, "tf is not a valid TensorType"),
        ({"size": {"shortest_edge": 32}}, ValueError, r"different sizes, \[\(32, 53\), \(32, 64\)\]"),
    ],
)
def test_a_call_refuses_what_it_does_not_know(processor, arguments, error, message):
    with pytest.raises(error, match=message):
        processor(images=[pictures(1)[0], pictures(1, 24, 48)[0]], **arguments)


def test_labels_are_nearest_and_ignored_in_padding(processor):
    # Each label covers a block of 16 x 16 after resizing (2, 4) -> (32, 64).
    small = np.array([[0, 1, 70, 255], [2, 3, 4, 5]], dtype=np.uint8)
    maps = [[Image.fromarray(small)], np.stack([small, small[::-1]])]
    out = processor([pictures(1), pictures(2)], segmentation_maps=maps, label_mask=[None, [True, False]])
    wanted = torch.from_numpy(small.repeat(16, axis=0).repeat(16, axis=1)).long()
    assert out["labels"].shape == (2, 2, 32, 64) and out["labels"].dtype == torch.int64
    assert torch.equal(out["labels"][0, 0], wanted) and torch.equal(out["labels"][1, 0], wanted)
    assert (out["labels"][0, 1] == 255).all(), "a padded frame"
    assert (out["labels"][1, 1] == 255).all(), "a frame that is not annotated"
    assert out["label_mask"].tolist() == [[True, False], [True, False]]


def test_nearest_labels_are_pil_nearest(processor):
    labels = np.random.default_rng(0).integers(0, 71, (37, 91), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(labels).resize((64, 32), Image.Resampling.NEAREST))
    assert np.array_equal(processor(pictures(1), segmentation_maps=labels[None])["labels"][0, 0], wanted)


def test_maps_may_be_files(processor, tmp_path):
    path = tmp_path / "0.png"
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(path)
    out = processor(pictures(1), segmentation_maps=[path])
    assert (out["labels"] == 7).all() and out["label_mask"].tolist() == [[True]]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    processor = AudioVisualProcessor(
        CCFormerImageProcessor(size={"height": 64, "width": 96}),
        CCFormerFeatureExtractor(alignment="avsbench", silence_threshold=0.01),
        fps=4.0,
    )
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["fps"] == 4.0
    wanted = processor(pictures(12), noise(3.0), sampling_rate=RATE)
    for again in (AudioVisualProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert isinstance(again, AudioVisualProcessor)
        assert again.fps == 4.0 and again.feature_extractor.alignment == "avsbench"
        given = again(pictures(12), noise(3.0), sampling_rate=RATE)
        assert all(torch.equal(given[name], wanted[name]) for name in wanted)
    assert AutoFeatureExtractor.from_pretrained(tmp_path).silence_threshold == 0.01
    assert AutoImageProcessor.from_pretrained(tmp_path).size == {"height": 64, "width": 96}


def test_saving_changes_nothing(processor, tmp_path):
    before = processor.to_dict()
    processor.save_pretrained(tmp_path)
    assert "auto_map" not in processor.to_dict() and processor.to_dict().keys() == before.keys()


@pytest.mark.parametrize("name", ["fsp", "silense_threshold", "imge_mean", "image_procesor"])
def test_a_misspelt_setting_is_not_passed_over(name):
    for auto in (AudioVisualProcessor, AutoProcessor):
        with pytest.raises(TypeError, match=f"has no setting '{name}'; did you mean"):
            auto.from_pretrained(TINY, **{name: 1})


def test_settings_of_the_processor_and_its_parts_are_given_when_loading():
    # `device_map` is the model's: a pipeline hands it to the processor too.
    settings = {"fps": 3, "silence_threshold": 0.5, "do_normalize": False, "device_map": "cpu"}
    processor = AutoProcessor.from_pretrained(TINY, **settings)
    assert processor.fps == 3 and processor.feature_extractor.silence_threshold == 0.5
    assert processor.image_processor.do_normalize is False


def test_saving_ships_the_code(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    names = {"processing", "image_processing", "feature_extraction", "media", "pictures", "argument_names", "timing"}
    assert {f"{name}_ccformer.py" for name in names} <= {path.name for path in tmp_path.iterdir()}
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["auto_map"]["AutoProcessor"] == "processing_ccformer.AudioVisualProcessor"


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the shared media files are not here")
def test_a_video_brings_its_own_frames_times_and_sound(processor):
    path = MEDIA / "s4_p04SYXuBSQ_dog.mp4"
    out = processor(path)
    assert out["pixel_values"].shape[:2] == (1, 5)
    assert out["audio_mask"].all()
    silent = processor(str(path), audio=np.zeros(5 * RATE, np.float32), sampling_rate=RATE)
    assert torch.equal(silent["pixel_values"], out["pixel_values"]) and not silent["audio_mask"].any()
    mixed = processor([path, pictures(7)])
    assert torch.equal(mixed["input_features"][0, :5], out["input_features"][0])
    assert mixed["frame_mask"].sum(1).tolist() == [5, 7]
    assert AudioVisualProcessor(processor.image_processor, fps=2.0)(path)["pixel_values"].shape[1] == 10
    with pytest.raises(ValueError, match="has its own; leave them out"):
        processor(path, timestamps=[1.0])


BAD_INPUTS = [
    ({"images": [pictures(1)[0], np.full((4, 4, 3), np.nan)]}, "frame 1 is float64 with values from nan to nan"),
    ({"images": [pictures(1), pictures(2) / 1.0]}, "clip 1: frame 0 is float64 with .* floats 0..1, not yet normali"),
    ({"images": pictures(2) / 127.5 - 1}, "frame 0 is float64 with values from -1.0 to 1.0; expected integers 0..255"),
    ({"images": pictures(2).astype(np.int64) * 2}, "frame 0 is int64 with values from 0 to 510"),
    ({"images": pictures(2).astype(bool)}, "frame 0 is bool"),
    (
        {"images": [pictures(1)] * 2, "audio": [None, noise(1.0) * np.inf], "sampling_rate": RATE},
        "clip 1: the waveform holds NaN or infinite",
    ),
    ({"images": ["no_such.png"]}, "no_such.png: there is no such file"),
    ({"images": pictures(1), "fps": 0}, "fps is 0"),
    ({"images": [pictures(1)] * 2, "fps": [1]}, "fps has 1 entries for 2 clip"),
    ({"images": pictures(1), "fps": 2, "timestamps": [0.5]}, "timestamps are given for a clip whose fps is given too"),
    ({"images": []}, "no frames"),
    ({"images": np.zeros((0, 1, 4, 4, 3), np.uint8)}, "no clip"),
    ({"images": [[]]}, "no frames"),
    ({"images": pictures(0)}, "no frames"),
    ({"images": pictures(1)[0]}, r"images have shape \(24, 40, 3\); expected \(frames, height, width, 3\)"),
    ({"images": pictures(2, 3, 4)}, r"frame 0 has shape \(3, 4, 3\), which has its channels first or last; expected"),
    ({"images": pictures(2)[..., :1]}, r"shape \(24, 40, 1\); expected \(height, width, 3\) or \(3, height, width\)"),
    ({"images": [np.zeros((0, 4, 3), np.uint8)]}, "no pixels"),
    ({"images": "frame.png"}, "frame.png: there is no such file"),
    ({"images": 3}, "images is a int"),
    ({"images": pictures(1), "audio": {"path": "a.wav"}}, 'a sound is a dict of path; expected {"array": samples'),
    ({"images": pictures(1), "audio": {"array": noise(1.0)}}, 'a dict of array; expected {"array": samples'),
    ({"images": pictures(1), "audio": (noise(1.0), RATE), "sampling_rate": 8000}, "is 8000, but the sound says 16000"),
    ({"images": [pictures(1), {"frames": pictures(1)}]}, "mixes rows of a data set with clips"),
    ({"images": {"image": pictures(1)}}, "a row has the columns image; expected frames, and optionally labels"),
    ({"images": [{"frames": pictures(1)}, {}]}, r"clip 1: a row has the columns \(none\); expected frames"),
    ({"images": {"frames": object()}}, "the frames of a row are a object; expected pictures"),
    ({"images": {"frames": pictures(1), "sound": (noise(1.0), 1), "audio": (noise(1.0), 1)}}, "sound and audio; exp"),
    ({"images": {"frames": pictures(1)}, "audio": noise(1.0)}, "have sound and labels of their own; leave audio"),
    (
        {"images": [{"frames": pictures(1), "labels": np.zeros((1, 4, 4), int)}, {"frames": pictures(1)}]},
        "row 1 has no",
    ),
    ({"images": [pictures(1), pictures(1)[0]]}, "mixes single frames with whole clips"),
    ({"images": pictures(3), "timestamps": [0.5, 1.0]}, r"timestamps have shape \(2,\) for a clip of 3 frames"),
    ({"images": [pictures(1)] * 2, "timestamps": [[0.5]]}, "timestamps has 1 entries for 2 clip"),
    ({"images": pictures(1), "timestamps": [float("nan")]}, "timestamps are"),
    ({"images": pictures(1), "audio": noise(1.0)}, "sampling_rate is missing"),
    ({"images": pictures(1), "audio": noise(1.0), "sampling_rate": 0}, "sampling_rate is 0"),
    ({"images": pictures(1), "audio": noise(1.0) * np.nan, "sampling_rate": RATE}, "NaN"),
    ({"images": pictures(1), "audio": [noise(1.0)], "sampling_rate": RATE}, "images is one clip"),
    ({"images": [pictures(1)] * 2, "audio": noise(1.0), "sampling_rate": RATE}, "one waveform for 2 clips"),
    ({"images": [pictures(1)] * 2, "audio": [None], "sampling_rate": RATE}, "1 sounds for 2 clips"),
    ({"images": pictures(1), "label_mask": [True]}, "without segmentation_maps"),
    ({"images": pictures(2), "segmentation_maps": np.zeros((1, 4, 4), int)}, "1 segmentation maps .* 2 frames"),
    ({"images": pictures(1), "segmentation_maps": np.zeros((1, 4, 4, 3), np.uint8)}, "class numbers as integers"),
    ({"images": pictures(1), "segmentation_maps": np.zeros((1, 4, 4))}, "class numbers as integers"),
    (
        {"images": [pictures(1)] * 2, "segmentation_maps": [np.zeros((1, 4, 4), int)]},
        "segmentation_maps has 1 entries",
    ),
    (
        {"images": pictures(2), "segmentation_maps": np.zeros((2, 4, 4), int), "label_mask": [True]},
        r"label_mask has shape \(1,\) for a clip of 2 frames",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUTS)
def test_bad_input_is_one_clear_error(processor, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        processor(**arguments)


# The rate of the frames


def test_frames_are_read_at_the_rate_that_is_given(processor):
    click = np.zeros(5 * RATE, np.float32)
    click[round(2.5 * RATE)] = 1.0
    at_two = AudioVisualProcessor(processor.image_processor, fps=2.0)(pictures(10), click, sampling_rate=RATE)
    given = processor(pictures(10), click, sampling_rate=RATE, fps=2)
    assert torch.equal(given["audio_mask"], at_two["audio_mask"]) and given["audio_mask"].sum() == 2
    several = processor([pictures(10), pictures(5)], [click, click], sampling_rate=RATE, fps=[2, None])
    assert torch.equal(several["audio_mask"][0], at_two["audio_mask"][0])
    assert several["audio_mask"][1].tolist() == [False, False, True] + [False] * 7


def test_a_video_is_looked_at_at_the_rate_that_is_given(processor, tmp_path):
    path = make_video(tmp_path / "clip.mp4", 2.0)
    assert processor(path, fps=4)["pixel_values"].shape[1] == 8 and processor(path, fps="all")["frame_mask"].sum() > 8
    assert processor([path, path], fps=[4, None])["frame_mask"].sum(1).tolist() == [8, 2]


def mismatched(frames: int, seconds: float) -> dict:
    return {"images": pictures(frames, 2, 2), "audio": noise(seconds), "sampling_rate": RATE}


@pytest.mark.parametrize(("frames", "seconds", "fitting"), [(150, 5.0, "30"), (5, 50.0, "0.1"), (50, 5.02, "9.96")])
def test_frames_and_sound_that_cannot_belong_together_are_refused(processor, frames, seconds, fitting):
    clip = mismatched(frames, seconds)
    message = (
        f"{frames} frames at 1 per second, which is assumed, last {frames} s, but .*give fps={fitting} if they belong"
    )
    with pytest.raises(ValueError, match=message):
        processor(**clip)
    with pytest.raises(ValueError, match=f"clip 1: {message}"):
        processor([pictures(1, 2, 2), clip["images"]], [None, clip["audio"]], sampling_rate=RATE)


@pytest.mark.parametrize(("frames", "seconds", "fitting"), [(10, 5.02, "1.99"), (5, 10.0, "0.5")])
def test_frames_and_sound_that_hardly_belong_together_are_warned_of(processor, frames, seconds, fitting):
    with pytest.warns(UserWarning, match=f"{frames} frames at 1 per second, which is .* give fps={fitting} if"):
        processor(**mismatched(frames, seconds))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("said", [{"fps": 1}, {"fps": 30}, {"timestamps": range(150)}])
def test_what_the_caller_says_of_the_rate_is_his(processor, said):
    assert processor(**mismatched(150, 5.0), **said)["frame_mask"].sum() == 150


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("frames", "seconds"), [(5, 4.2), (5, 5.9), (4, 3.0), (2, 1.0), (10, 9.0), (1, 60.0)])
def test_a_sound_a_little_shorter_or_longer_than_the_pictures_is_taken(processor, frames, seconds):
    sound = np.stack([noise(seconds)] * 2).T  # (S, C)
    assert processor(pictures(frames, 2, 2), sound, sampling_rate=RATE)["audio_mask"].any()


def test_the_rate_of_the_processor_is_an_assumption_too():
    processor = AudioVisualProcessor(CCFormerImageProcessor(size={"height": 32, "width": 32}), fps=30)
    assert processor(pictures(90, 2, 2), noise(3.0), sampling_rate=RATE)["audio_mask"].all()
    with pytest.raises(ValueError, match="5 frames at 30 per second, which is assumed.* give fps=1 if"):
        processor(pictures(5), noise(5.0), sampling_rate=RATE)


# Pictures and maps in files


def test_pictures_are_turned_upright(processor, tmp_path):
    frame = pictures(1)[0]
    turned = Image.fromarray(frame).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "a.png", exif=exif)
    wanted = processor(frame[None])["pixel_values"]
    assert torch.equal(processor([tmp_path / "a.png"])["pixel_values"], wanted)
    with Image.open(tmp_path / "a.png") as image:
        assert torch.equal(processor([image])["pixel_values"], wanted)
    labels = np.arange(24 * 40, dtype=np.uint8).reshape(24, 40)
    Image.fromarray(labels).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "mask.png", exif=exif)
    expected = processor(frame[None], segmentation_maps=labels[None])["labels"]
    with Image.open(tmp_path / "mask.png") as image:
        for given in (tmp_path / "mask.png", image):
            assert torch.equal(processor(frame[None], segmentation_maps=[given])["labels"], expected)


def test_a_label_map_that_is_a_jpeg_is_refused(processor, tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="a.jpg: is a JPEG, which blurs class ids"):
        processor(pictures(1), segmentation_maps=[tmp_path / "a.jpg"])


# What comes out of the model


def test_outputs_that_are_nan_are_refused(processor):
    outputs = random_outputs(2, 3, 4, 5, 5)
    outputs.logits[1, 2, 0, 0, 0] = np.nan
    for post_process in (processor.post_process_scores, processor.post_process_semantic_segmentation):
        with pytest.raises(ValueError, match="output for clip 1 holds NaN in frame 2.*float32 or bfloat16"):
            post_process(outputs)
        assert len(post_process(outputs, num_frames=[3, 2])) == 2, "NaN in a padded frame does no harm"


def test_fps_must_be_positive():
    with pytest.raises(ValueError, match="fps is 0"):
        AudioVisualProcessor(fps=0)


def test_confidence():
    assert AudioVisualProcessor().confidence(0.7) == pytest.approx(0.7)
    processor = AudioVisualProcessor(score_calibration=[2.0, -1.0])
    assert processor.confidence(0.5) == pytest.approx(1 / (1 + np.e))
    assert processor.confidence(0.8) == pytest.approx(16 / (16 + np.e))  # odds of 4, squared, over e
    assert 0 < processor.confidence(0.0) < processor.confidence(0.1) < processor.confidence(1.0) < 1


def test_what_sounds_is_the_less_in_view_the_less_is_marked():
    assert AudioVisualProcessor().unseen(0.7) == pytest.approx(0.3)
    processor = AudioVisualProcessor(unseen_calibration=[2.0, -1.0])
    assert processor.unseen(0.8) == pytest.approx(1 - 16 / (16 + np.e))
    assert 1 > processor.unseen(0.0) > processor.unseen(0.1) > processor.unseen(1.0) > 0


def test_calibrations_are_saved(tmp_path):
    calibrations = {"score_calibration": (0.75, -0.5), "unseen_calibration": (0.5, 1)}
    AudioVisualProcessor(**calibrations, class_threshold=1, component_threshold=0.1).save_pretrained(tmp_path)
    processor = AudioVisualProcessor.from_pretrained(tmp_path)
    assert (processor.score_calibration, processor.unseen_calibration) == ([0.75, -0.5], [0.5, 1.0])
    assert (processor.class_threshold, processor.component_threshold) == (1.0, 0.1)
    assert AudioVisualProcessor.from_pretrained(tmp_path, class_threshold=0.5).class_threshold == 0.5


@pytest.mark.parametrize(
    "wrong", [1.0, [1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, 11.0], ["1", 0.0], None, [True, 0.0], [1, 10**400]]
)
def test_what_is_no_calibration(wrong):
    for name in ("score_calibration", "unseen_calibration"):
        with pytest.raises(ValueError, match=f"{name} is .*, expected a slope above 0 and a shift"):
            AudioVisualProcessor(**{name: wrong})


@pytest.mark.parametrize("name", ["class_threshold", "component_threshold"])
def test_what_is_no_share(name):
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"{name} is {wrong}, expected a number from 0 to 1"):
            AudioVisualProcessor(**{name: wrong})


def test_unsure_classes_are_left_out_before_specks():
    """Class 2 is nowhere sure; what it marks goes to class 1 on the left, where that is the largest component then."""
    left, right = [0.1, 0.43, 0.47], [0.3, 0.7, 0.0]
    frame = torch.tensor([left, left, [1.0, 0.0, 0.0], right]).T[:, None]  # (3, 1, 4)
    processors = [AudioVisualProcessor(), AudioVisualProcessor(class_threshold=1.0)]
    processors += [AudioVisualProcessor(class_threshold=share, component_threshold=0.6) for share in (0.0, 1.0)]
    maps = [one.post_process_semantic_segmentation(outputs_of(frame[None, None]))[0][0, 0] for one in processors]
    assert [one.tolist() for one in maps] == [[2, 2, 0, 1], [1, 1, 0, 1], [2, 2, 0, 1], [1, 1, 0, 0]]
    assert AudioVisualProcessor().sure_probabilities(frame, 0.5) is frame


def test_the_map_is_of_the_sure_classes():
    outputs = outputs_of(torch.tensor([[[0.2, 0.45]], [[0.6, 0.1]], [[0.2, 0.45]]])[None, None])  # (1, 1, 3, 1, 2)
    maps = [
        AudioVisualProcessor(class_threshold=share).post_process_semantic_segmentation(outputs, threshold=0.5)[0]
        for share in (0.0, 0.8, 1.0)
    ]
    assert [one.flatten().tolist() for one in maps] == [[1, 2], [1, 2], [1, 0]]


def outputs_of(probabilities: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(logits=probabilities.log())


def random_outputs(*shape: int) -> SimpleNamespace:
    return outputs_of((3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).softmax(dim=2))


def test_scores_are_probabilities_at_the_size_each_clip_asks_for(processor):
    outputs = random_outputs(2, 3, 4, 8, 8)
    scores = processor.post_process_scores(outputs, target_sizes=[(20, 30), (7, 5)], num_frames=[3, 1])
    assert [tuple(score.shape) for score in scores] == [(3, 4, 20, 30), (1, 4, 7, 5)]
    for score in scores:
        assert score.dtype == torch.float32
        assert torch.allclose(score.sum(dim=1), torch.ones(()), atol=1e-5)
    unresized = processor.post_process_scores(outputs)
    assert torch.allclose(unresized[1], outputs.logits[1].exp(), atol=1e-6)


def test_scores_are_interpolated_between_pixel_centres(processor):
    sounding = torch.tensor([0.0, 1.0])[None, :]  # one row of two pixels
    outputs = outputs_of(torch.stack([1 - sounding, sounding])[None, None])
    score = processor.post_process_scores(outputs, target_sizes=[(1, 4)])[0]
    assert torch.allclose(score[0, 1, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_class_maps_by_hand(processor):
    # Four pixels: background .9; class 1 .3 + class 2 .4 against background .3; class 1 .6; exactly at the threshold
    # .5.
    probabilities = torch.tensor([[0.9, 0.3, 0.3, 0.5], [0.05, 0.3, 0.6, 0.25], [0.05, 0.4, 0.1, 0.25]])
    outputs = outputs_of(probabilities[None, None, :, None, :])

    def marked(threshold: float) -> list[int]:
        return processor.post_process_semantic_segmentation(outputs, threshold=threshold)[0][0, 0].tolist()

    assert marked(0.5)[:3] == [0, 2, 1]
    assert marked(0.51) == [0, 2, 1, 0]
    assert marked(0.49) == [0, 2, 1, 1]
    assert marked(0.75) == [0, 0, 0, 0]
    assert marked(0.05)[0] == 1
    assert marked(1.0) == [0, 0, 0, 0]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
def test_class_maps_agree_with_the_scores(processor, threshold):
    outputs = random_outputs(2, 3, 71, 8, 8)
    sizes = [(40, 24), (16, 16)]
    maps = processor.post_process_semantic_segmentation(outputs, sizes, threshold, num_frames=[3, 2])
    scores = processor.post_process_scores(outputs, sizes, num_frames=[3, 2])
    for class_map, score in zip(maps, scores, strict=True):
        wanted = (score[:, 1:].argmax(dim=1) + 1) * (1 - score[:, 0] > threshold)
        assert class_map.dtype == torch.uint8
        assert torch.equal(class_map.long(), wanted)
    assert maps[0].shape == (3, 40, 24) and maps[0].any()


def test_a_higher_threshold_marks_less(processor):
    outputs = random_outputs(1, 2, 2, 16, 16)
    areas = [
        int((processor.post_process_semantic_segmentation(outputs, threshold=t)[0] > 0).sum())
        for t in (0.0, 0.3, 0.7, 1.0)
    ]
    assert areas[0] == 2 * 16 * 16 and areas[3] == 0
    assert areas[0] > areas[1] > areas[2] > areas[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"target_sizes": [(8, 8)]}, "target_sizes has 1 entries for 2 clips"),
        ({"target_sizes": (8, 8)}, "an entry of target_sizes is 8"),
        ({"target_sizes": [(0, 8), (8, 8)]}, r"an entry of target_sizes is \(0, 8\)"),
        ({"num_frames": [1]}, "num_frames has 1 entries for 2 clips"),
        ({"num_frames": [1, 9]}, "num_frames is"),
        ({"num_frames": [0, 1]}, "num_frames is"),
    ],
)
def test_post_processing_refuses_what_does_not_fit(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor.post_process_semantic_segmentation(random_outputs(2, 2, 2, 4, 4), **arguments)


def two_queries(*places: tuple[int, int]) -> SimpleNamespace:
    """One clip of 8 x 16 cells: query 0 marks squares of label 2 with their left edges at `places` of each frame,
    query 1 one of label 1 at the bottom; a frame more is padding."""
    masks, labels = torch.full((1, 1 + len(places), 2, 8, 16), -8.0), torch.zeros(1, 1 + len(places), 2, 3)
    for time, lefts in enumerate(places):
        for left in lefts:
            masks[0, time, 0, 0:3, left : left + 3] = 8
        masks[0, time, 1, 6:, :2] = 8
    labels[0, :, 0, 2] = labels[0, :, 1, 1] = 5
    logits = torch.zeros(1, 1 + len(places), 3, 8, 16)
    return SimpleNamespace(logits=logits, class_queries_logits=labels, masks_queries_logits=masks)


def test_objects_of_each_frame(processor):
    outputs = two_queries((0, 8), (2,))
    (frames,) = processor.post_process_instance_segmentation(outputs, [(16, 32)], num_frames=[2])
    assert len(frames) == 2 and frames[0]["segmentation"].dtype == torch.int32
    found, info = frames[0]["segmentation"], frames[0]["segments_info"]
    assert found.shape == (16, 32) and [(one["id"], one["label_id"]) for one in info] == [(1, 2), (2, 2), (3, 1)]
    at = {int(found[2, 2]), int(found[2, 18])}
    assert at == {1, 2} and found[14, 1] == 3 and found[10, 10] == 0
    assert all(0.9 < one["score"] < 1 for one in info)
    assert processor.post_process_instance_segmentation(outputs, threshold=1.0)[0][0]["segments_info"] == []
    with pytest.raises(ValueError, match="threshold is 2, expected 0 "):
        processor.post_process_instance_segmentation(outputs, threshold=2)


def test_objects_of_a_clip_keep_their_numbers(processor):
    outputs = two_queries((0, 8), (9, 1), (10,))
    (clip,) = processor.post_process_video_instances(outputs, num_frames=[3])
    found = clip["segmentation"]
    assert found.shape == (3, 8, 16)
    left, right, below = found[0, 0, 0], found[0, 0, 8], found[0, 7, 0]
    assert {int(left), int(right), int(below)} == {1, 2, 3}
    assert (found[1, 0, 2], found[1, 0, 10], found[2, 0, 11]) == (left, right, right)
    frames = {one["id"]: (one["label_id"], one["frames"]) for one in clip["segments_info"]}
    assert frames == {int(left): (2, [0, 1]), int(right): (2, [0, 1, 2]), int(below): (1, [0, 1, 2])}
