import io
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import planted
import pytest
from file_server import serving
from made_media import SoundTrack, VideoTrack, make_video, write_media
from small_model import save_small_model

from ccformer_hf import checkpoints
from ccformer_hf.cli import main as cli
from ccformer_hf.cli import segment as cli_segment
from ccformer_hf.inference import contained_media, results, segmenting

posix = pytest.mark.skipif(os.name != "posix", reason="has neither such signals nor such names")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_small_model(tmp_path_factory.mktemp("models") / "small"))


@pytest.fixture
def video(tmp_path):
    return str(write_media(tmp_path / "clip.mp4", VideoTrack(seconds=2.0), SoundTrack(seconds=2.0)))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


def one_line_error(capsys) -> str:
    return one_error(capsys.readouterr().err)


def one_error(printed: str) -> str:
    errors = [line for line in printed.splitlines() if line.startswith("ccformer: error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--threshold", "1.5"], "--threshold: 1.5: expected a number from 0 to 1"),
        (["--threshold", "nan"], "--threshold: nan: expected a finite number"),
        (["--fps", "0"], "--fps: 0: expected a number greater than 0"),
        (["--fps", "fast"], "--fps: 'fast': expected a number"),
        (["--window", "2.5"], "--window: 2.5: expected a whole number, at least 1"),
        (["--window", "3", "--overlap", "3"], "window is 3 and overlap 3; expected"),
        (["--format", "json,gif"], "--format: 'gif' is none of video, masks, json, sheet, matte, csv, srt, vtt"),
        (["--device", "tpu"], "--device: 'tpu': expected auto, cpu, cuda, cuda:1, ... or mps"),
    ],
)
def test_wrong_arguments(arguments, told, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["segment", *arguments])
    assert exit.value.code == 2
    assert told in capsys.readouterr().err


def test_segment_writes_the_four_and_says_so(model, video, output, capsys):
    assert cli.main(["segment", video, "-o", str(output), "--model", model, "--threshold", "0"]) == 0
    told = capsys.readouterr()
    paths = [output / "clip" / name for name in ("overlay.mp4", "masks", "segments.json", "contact_sheet.png")]
    assert told.out.splitlines()[:4] == [str(path) for path in paths]
    assert all(path.exists() for path in paths)
    assert told.out.splitlines()[4].startswith("clip.mp4: in 2.0 s sounds: ")
    assert told.err == ""


def test_folders_patterns_addresses_and_standard_input(model, video, tmp_path, output, capsys, monkeypatch):
    options = ["-o", str(output), "--model", model, "--format", "json"]
    content = Path(video).read_bytes()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    with serving({"/web.mp4": content, "/text.mp4": b"text"}) as address:
        words = [str(tmp_path / "videos"), str(tmp_path / "videos" / "*.mp4"), f"{address}/web.mp4", "-"]
        assert cli.main(["segment", *words, f"{address}/text.mp4", *options]) == 1
        told = capsys.readouterr()
        assert told.out.splitlines()[-1] == "3 of 4 videos done, 1 failed"
        assert one_error(told.err).startswith(f"ccformer: error: {address}/text.mp4: is not a video or sound file")
        assert sorted(os.listdir(output)) == ["a", "report.csv", "stdin", "web"]
        assert f"{address}/web.mp4,done,{output / 'web'}," in (output / "report.csv").read_text()
        assert json.loads((output / "web" / "segments.json").read_text())["source"]["file"] == "web.mp4"
        assert cli.main(["segment", f"{address}/web.mp4", "--resume", *options]) == 0
        assert capsys.readouterr().out.startswith("web.mp4: done before")


def test_where_nothing_is_found_it_says_what_to_try(model, video, output, capsys):
    options = [video, "-o", str(output), "--model", model, "--format", "json"]
    assert cli.main(["segment", *options, "--threshold", "0.999", "--fps", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "clip.mp4: in 2.0 s sounds: nothing above the threshold",
        "to find more: --threshold 0.5 (now 0.999) marks what is less sure; --fps 4 (now 2) looks more often; --model "
        "takes one that knows what sounds here; this one knows: bell, dog, drum",
    ]
    assert cli.main(["segment", *options, "--threshold", "0"]) == 0
    assert "to find more" not in capsys.readouterr().out


def test_a_device_that_is_not_there_is_told(model, video, output, capsys):
    for device, told in (("cuda:7", "CUDA GPUs here"), ("mps", "sees no GPU of Apple's here; use 'cpu' or 'auto'")):
        assert cli.main(["segment", video, "-o", str(output), "--model", model, "--device", device]) == 2
        assert told in one_line_error(capsys)


def test_options_reach_the_library(model, video, output):
    options = ["--fps", "2", "--threshold", "0.25", "--window", "3", "--format", "json,srt", "--format", "masks"]
    assert cli.main(["segment", video, "-o", str(output), "--model", model, *options]) == 0
    assert sorted(os.listdir(output / "clip")) == [".source", "masks", "segments.json", "sounds.srt"]
    segments = json.loads((output / "clip" / "segments.json").read_text())
    assert (segments["fps"], segments["threshold"], len(segments["frames"])) == (2, 0.25, 4)


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "text":
        path.write_text("this is no video\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        whole = write_media(folder / "whole.mp4", VideoTrack(seconds=2.0), SoundTrack(seconds=2.0)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "sound":
        write_media(path, SoundTrack(seconds=1.0))
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "kind, told",
    [
        ("missing", "there is no such file"),
        ("text", "not a video or sound file"),
        ("empty", "the file is empty"),
        ("truncated", "cut short"),
        ("sound", "has sound but no video stream"),
        ("folder", "is a folder without a video (.mp4, "),
    ],
)
def test_bad_videos(kind, told, tmp_path, output, capsys):
    path = bad_file(tmp_path, kind)
    assert cli.main(["segment", str(path), "-o", str(output)]) == 2
    error = one_line_error(capsys)
    assert told in error and str(path) in error
    assert not output.exists()


def test_video_without_sound_works_and_is_told(model, tmp_path, output, capsys):
    path = write_media(tmp_path / "mute.mp4", VideoTrack(seconds=1.0))
    # A threshold at which the random model marks nothing.
    assert cli.main(["segment", str(path), "-o", str(output), "--model", model, "--threshold", "0.999"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "mute.mp4: in 1.0 s sounds: nothing, it is silent"
    warnings = told.err.splitlines()
    assert len(warnings) == 1 and "has no sound track" in warnings[0]
    assert json.loads((output / "mute" / "segments.json").read_text())["source"]["has_audio"] is False


def test_unwritable_output(model, video, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["segment", video, "-o", str(tmp_path / "file"), "--model", model]) == 2
    assert "cannot be written to" in one_line_error(capsys)
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "file"]


def test_missing_model(video, tmp_path, output, capsys):
    assert cli.main(["segment", video, "-o", str(output), "--model", str(tmp_path / "none")]) == 2
    assert "no such model folder" in one_line_error(capsys)
    assert not output.exists()


def test_several_videos_go_on_after_a_bad_one(model, video, tmp_path, output, capsys):
    bad = bad_file(tmp_path, "text")
    options = ["-o", str(output), "--model", model, "--format", "json"]
    assert cli.main(["segment", str(bad), video, *options]) == 1
    told = capsys.readouterr()
    assert "text.mp4" in told.err and told.err.count("error") == 1
    assert told.out.splitlines()[-1] == "1 of 2 videos done, 1 failed"
    assert sorted(os.listdir(output)) == ["clip", "report.csv"]
    assert cli.main(["segment", str(bad), str(tmp_path / "missing.mp4"), *options]) == 2
    assert capsys.readouterr().out == f"{output / 'report.csv'}\n0 of 2 videos done, 2 failed\n"


@posix
def test_a_video_that_crashes_costs_no_other(model, video, tmp_path, output, capsys, monkeypatch):
    crash, second = (make_video(tmp_path / f"{name}.mp4", 1.0) for name in ("crash", "second"))
    monkeypatch.setattr(contained_media, "_probe", planted.crash_in_probe)
    options = ["-o", str(output), "--model", model, "--format", "json"]
    assert cli.main(["segment", video, str(crash), str(second), *options]) == 1
    told = capsys.readouterr()
    assert f"ccformer: error: {crash}: reading it crashed (SIGSEGV)" in told.err
    assert told.out.splitlines()[-1] == "2 of 3 videos done, 1 failed"
    assert sorted(os.listdir(output)) == ["clip", "report.csv", "second"]


def test_a_fault_of_ours_costs_no_other_video_either(model, video, tmp_path, output, capsys, monkeypatch):
    second, run = make_video(tmp_path / "second.mp4", 1.0), segmenting.segment_video

    def faulty(path, *given, **options):
        return run(None if path == Path(video) else path, *given, **options)

    monkeypatch.setattr(segmenting, "segment_video", faulty)
    options = ["-o", str(output), "--model", model, "--format", "json"]
    assert cli.main(["segment", video, str(second), *options]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert sorted(os.listdir(output)) == ["report.csv", "second"]
    assert 'failed,,"TypeError: ' in (output / "report.csv").read_text()
    with pytest.raises(TypeError):
        cli.main(["segment", video, *options])


def test_videos_of_one_name_do_not_share_a_folder(model, video, tmp_path, output, capsys):
    (tmp_path / "b").mkdir()
    paths = [video, str(make_video(tmp_path / "b" / "clip.mp4", 1.0)), str(make_video(tmp_path / "clip.mov", 1.0))]
    options = ["-o", str(output), "--model", model, "--format", "json"]
    assert cli.main(["segment", *paths, *options]) == 0
    folders = [Path(line).parent.name for line in capsys.readouterr().out.splitlines() if line.endswith(".json")]
    assert folders == ["clip", "clip.mp4", "clip.mov"]
    assert sorted(os.listdir(output)) == ["clip", "clip.mov", "clip.mp4", "report.csv"]


@posix
def test_names_that_cannot_be_printed(model, tmp_path, output, capsys):
    folder = os.fsencode(tmp_path)
    path = os.fsdecode(folder + b"/caf\xe9\x1b[31m.mp4")
    make_video(tmp_path / "clip.mp4", 1.0, sound=False).rename(path)
    options = ["-o", str(output), "--model", model, "--format", "json"]
    assert cli.main(["segment", path, os.fsdecode(folder + b"/\xe9.mp4"), *options]) == 1
    told = capsys.readouterr()
    assert "caf\\xe9\\x1b[31m.mp4: in 1.0 s sounds" in told.out
    assert "\\xe9.mp4: there is no such file" in told.err and "\x1b" not in told.err
    assert r"caf\xe9\x1b[31m.mp4,done," in (output / "report.csv").read_text()


def test_a_warning_of_the_sound_is_one_line(model, tmp_path, output, capsys):
    waveform = np.full(16000, np.nan, np.float32)
    path = write_media(tmp_path / "odd.mkv", VideoTrack(), SoundTrack(waveform=waveform, codec="pcm_f32le"))
    assert cli.main(["segment", str(path), "-o", str(output), "--model", model]) == 0
    errors = capsys.readouterr().err.splitlines()
    assert errors == [f"ccformer: warning: {path}: {contained_media.SILENCED}"]


def test_without_a_video_it_takes_the_shipped_clip(model, video, output, capsys, monkeypatch):
    monkeypatch.setattr(cli_segment, "EXAMPLE_CLIP", Path(video))
    assert cli.main(["segment", "-o", str(output), "--model", model, "--format", "json"]) == 0
    assert capsys.readouterr().out.startswith(
        "no video named: taking the clip that ships with the package, clip.mp4\n"
    )
    assert (output / "clip" / "segments.json").exists()


def test_the_built_in_model_says_what_it_knows(model, video, output, capsys, monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", Path(model).parent)
    for module in (checkpoints, cli_segment):
        monkeypatch.setattr(module, "BUILT_IN_MODELS", ("small",))
    assert cli.main(["segment", video, "-o", str(output), "--model", "small", "--format", "json"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("small was trained on ") and first.endswith(": bell, dog, drum")
    # Another process of the same command took the first video, and says it.
    monkeypatch.setattr(cli_segment.SharedWork, "take", lambda work, count: iter(range(1, count)))
    arguments = ["segment", video, video, "-o", str(output), "--model", "small", "--format", "json"]
    assert cli.main(arguments) == 0
    assert "was trained on" not in capsys.readouterr().out


def test_on_a_terminal_it_says_what_it_is_doing_before_it_imports_anything_heavy(video, output, capsys, monkeypatch):
    def load(options, speaks):
        assert capsys.readouterr().err == "loading ccformer-small ...\n"
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(cli_segment, "_load", load)
    assert cli.main(["segment", video, "-o", str(output)]) == 130


def test_resume_with_another_format_adds_to_what_is_there(model, video, output, capsys):
    def files(*options: str) -> list[str]:
        command = ["segment", video, "-o", str(output), "--model", model, "--fps", "1", *options]
        assert cli.main(command) == 0
        return sorted(os.listdir(output / "clip"))

    assert files("--format", "json") == [".source", "segments.json"]
    assert files("--format", "csv", "--resume") == [".source", "segments.json", "sounds.csv"]
    assert files("--format", "csv", "--resume") == [".source", "segments.json", "sounds.csv"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("clip.mp4: done before")
    # Made with other settings, it is another result, and is replaced.
    assert files("--format", "csv", "--resume", "--threshold", "0.4") == [".source", "sounds.csv"]


def test_ctrl_c_is_tidy(model, video, output, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "_save_mask", interrupt)
    assert cli.main(["segment", video, "-o", str(output), "--model", model]) == 130
    assert "stopped" in capsys.readouterr().err
    assert not output.exists()


@posix
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stop_signal_is_as_tidy(model, video, output, capsys, monkeypatch, number, code):
    monkeypatch.setattr(results, "_save_mask", lambda *_: signal.raise_signal(number))
    assert cli.main(["segment", video, "-o", str(output), "--model", model]) == code
    assert "stopped" in capsys.readouterr().err
    assert not output.exists()
    assert signal.getsignal(number) == signal.SIG_DFL


def test_command_and_function_look_as_often_and_know_the_same_masks():
    assert (cli_segment.DEFAULT_FPS, cli_segment.MASKS) == (segmenting.LOOKS_PER_SECOND, results.MASKS)
    assert (cli_segment.FORMATS, cli_segment.USUAL_FORMATS) == (tuple(results.FORMATS), results.USUAL_FORMATS)
