import numpy as np
import pytest
from made_sources import RATE, tone, write_wav, write_yaml

from ccformer_hf.data.composing.sounds import gated_loudness, list_sounds, load_recording
from ccformer_hf.data.composing.sources import read_sources


def listed(tmp_path, **entry):
    sources = read_sources(write_yaml(tmp_path / "sources.yaml", {"classes": ["cat", "dog"], "sounds": [entry]}))
    return [(sound.file.removeprefix(f"{tmp_path}/"), sound.split, sound.name) for sound in list_sounds(sources)]


def touch(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def test_esc50(tmp_path):
    touch(tmp_path, "ESC/audio/1.wav")
    (tmp_path / "ESC" / "meta").mkdir()
    (tmp_path / "ESC" / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n1-a.wav,1,0,dog,True,1,A\n4-b.wav,4,0,rain,True,2,A\n"
        "5-c.wav,5,5,cat,False,3,A\n1-d.wav,1,9,crow,False,4,A\n"
    )
    assert listed(tmp_path, format="esc50", path="ESC", map={"other": "rain"}) == [
        ("ESC/audio/1-a.wav", "train", "dog"),
        ("ESC/audio/4-b.wav", "validation", "other"),
        ("ESC/audio/5-c.wav", "test", "cat"),
    ]
    with pytest.raises(ValueError, match="map says other: wind, but .*esc50.csv knows no such name"):
        listed(tmp_path, format="esc50", path="ESC", map={"other": "wind"})
    with pytest.raises(FileNotFoundError, match="name the folder that ESC-50 was unpacked in"):
        listed(tmp_path, format="esc50", path="ESC/audio")


def test_vggsound(tmp_path):
    touch(tmp_path, "clips/--0PQM4-hqg_000030.wav", "clips/deep/bbb_000005.mp4", "clips/ccc_000000.wav")
    (tmp_path / "vggsound.csv").write_text(
        '--0PQM4-hqg,30,dog barking,train\nbbb,5,"cat purring, loud",test\n'
        "gone,1,dog barking,train\nccc,0,waterfall burbling,train\n"
    )
    names = {"dog": "dog *", "cat": "cat purring*"}
    assert listed(tmp_path, format="vggsound", path="vggsound.csv", root="clips", map=names) == [
        ("clips/--0PQM4-hqg_000030.wav", "train", "dog"),
        ("clips/deep/bbb_000005.mp4", "test", "cat"),
    ]
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no clip that .*vggsound.csv names"):
        listed(tmp_path, format="vggsound", path="vggsound.csv", root="none", map=names)
    (tmp_path / "vggsound.csv").write_text("aaa,30,dog barking,train\naaa,thirty,dog,train\n")
    with pytest.raises(ValueError, match="line 2: expected video, start in seconds, label and split"):
        listed(tmp_path, format="vggsound", path="vggsound.csv", root="clips")


def test_fsd(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "dev.csv").write_text(
        'fname,labels,mids,split\n64760,"Bark,Dog,Animal",/m/1,train\n16399,"Meow,Cat",/m/2,val\n'
        '1,"Bark,Meow",/m/3,train\n2,Rain,/m/4,val\n'
    )
    names = {"dog": ["Bark", "Dog"], "cat": ["Meow"]}
    assert listed(tmp_path, format="fsd", path="dev.csv", root="audio", map=names) == [
        ("audio/64760.wav", "train", "dog"),
        ("audio/16399.wav", "validation", "cat"),
    ]
    (tmp_path / "train.csv").write_text("fname,label,manually_verified\n00044347.wav,Bark,0\n")
    entry = {"format": "fsd", "path": "train.csv", "root": "audio", "split": "test", "map": {"dog": "Bark"}}
    assert listed(tmp_path, **entry) == [("audio/00044347.wav", "test", "dog")]


def test_csv_and_folders(tmp_path):
    (tmp_path / "sounds.csv").write_text(
        "file,class,split\na/1.ogg,dog,val\na/2.ogg,other_rain,train\na/3.ogg,cow,train\n"
    )
    assert listed(tmp_path, format="csv", path="sounds.csv", map={"other": "other_*"}) == [
        ("a/1.ogg", "validation", "dog"),
        ("a/2.ogg", "train", "other"),
    ]
    touch(tmp_path, "f/dog/1.wav", "f/dog/2.ogg", "f/dog/notes.txt", "f/piano/1.wav")
    assert listed(tmp_path, format="folders", path="f", split="test", map={"bed": "piano"}) == [
        ("f/dog/1.wav", "test", "dog"),
        ("f/dog/2.ogg", "test", "dog"),
        ("f/piano/1.wav", "test", "bed"),
    ]
    (tmp_path / "sounds.csv").write_text("file,class\n/etc/1.ogg,dog\n")
    with pytest.raises(ValueError, match="expected a file below"):
        listed(tmp_path, format="csv", path="sounds.csv")


def test_a_sound_in_two_splits_is_refused(tmp_path):
    (tmp_path / "sounds.csv").write_text("file,class,split\n1.ogg,dog,train\n1.ogg,dog,test\n")
    with pytest.raises(ValueError, match="1.ogg is in train and in test"):
        listed(tmp_path, format="csv", path="sounds.csv")


def test_a_recording_is_read_at_16_khz_up_to_ten_seconds_without_the_silence_behind_it(tmp_path):
    samples = np.concatenate([tone(500, 0.5), np.zeros(RATE)])
    recording = load_recording(str(write_wav(tmp_path / "a.wav", samples)))
    assert recording.samples.dtype == np.int16 and abs(len(recording.samples) - RATE // 2) <= 20
    assert abs(recording.loudness - 0.5 / 2**0.5) < 0.01
    assert len(load_recording(str(write_wav(tmp_path / "b.wav", tone(50, 12)))).samples) == 10 * RATE
    other = load_recording(str(write_wav(tmp_path / "c.wav", tone(500, 1), rate=8000)))
    assert abs(len(other.samples) - 2 * RATE) < 300, "it lasts as long"


def test_the_loudness_is_that_of_the_moments_with_sound():
    sound = tone(500, 1)
    assert abs(gated_loudness(np.concatenate([sound, np.zeros(9 * RATE), sound])) / gated_loudness(sound) - 1) < 0.01


def test_what_is_no_sound(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there; copy it there, or take it out of its table"):
        load_recording(str(tmp_path / "no.wav"))
    with pytest.raises(ValueError, match="is silent; take it out"):
        load_recording(str(write_wav(tmp_path / "a.wav", np.zeros(RATE))))
    (tmp_path / "b.wav").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="b.wav"):
        load_recording(str(tmp_path / "b.wav"))
