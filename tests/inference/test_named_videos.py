import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from file_server import CHANGED, serving
from hub_server import Repository, lend_hub, running_hub

from ccformer_hf.inference import contained_media
from ccformer_hf.inference import named_videos as module
from ccformer_hf.inference.named_videos import named_videos, video_file
from ccformer_hf.model.media_ccformer import MediaError


def test_folders_and_patterns_name_the_videos_in_them(tmp_path, monkeypatch):
    for name in ("a10.mp4", "a2.MOV", "notes.txt", ".hidden.mp4", "deep/b.mkv", "deep/er/c.mp4", "empty/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "odd[1].mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert named_videos(["."]) == ["a2.MOV", "a10.mp4", "odd[1].mp4"]
    assert named_videos(["a10.mp4", "*.mp4", "deep"]) == ["a10.mp4", "odd[1].mp4", os.path.join("deep", "b.mkv")]
    assert {Path(path).name for path in named_videos(["**/*.mp4"])} == {"a10.mp4", "odd[1].mp4", "c.mp4"}
    assert named_videos(["odd[1].mp4"]) == ["odd[1].mp4"]
    others = ["none*.mp4", "empty", "missing.mp4", "-", "https://host/*.mp4", "hf://owner/name/a.mp4"]
    assert named_videos(others) == others
    with (
        pytest.raises(MediaError, match=r"^empty: is a folder without a video \(.mp4, .mkv"),
        video_file("empty", tmp_path),
    ):
        pass
    with video_file("notes.txt", tmp_path / "out") as path:  # what is named may be called anything
        assert path == Path("notes.txt")
    assert not (tmp_path / "out").exists()


def test_an_address_has_one_place_while_it_is_read(tmp_path):
    with serving({"/a%20clip.mp4?x=1": b"video", "/": b"video"}) as address:
        video = f"{address}/a%20clip.mp4?x=1"
        places = []
        for _ in range(2):
            with video_file(video, tmp_path / "out") as path:
                assert path.read_bytes() == b"video" and path.name == "a clip.mp4" and path.stat().st_mtime == CHANGED
                places.append(path)
            assert not (tmp_path / "out").exists()
        assert places[0] == places[1] and places[0].parent.parent == tmp_path / "out"
        with video_file(f"{address}/", tmp_path) as path:
            assert path.name == "video" and path.parent != places[0].parent
        (tmp_path / "out").mkdir()
        with pytest.raises(MediaError, match=f"^{address}/missing.mp4: the server answers 404"):
            with video_file(f"{address}/missing.mp4", tmp_path / "out"):
                pass
    assert list((tmp_path / "out").iterdir()) == []
    for other in ("s3://bucket/clip.mp4", "ftp://host/clip.mp4"):
        with pytest.raises(MediaError, match="cannot be fetched from there; expected a file, or an address of http"):
            with video_file(other, tmp_path):
                pass


def test_reading_itself_takes_no_address(tmp_path):
    with serving({"/clip.mp4": b"video"}) as address, pytest.raises(MediaError, match="there is no such file"):
        contained_media.probe(f"{address}/clip.mp4")


def test_standard_input(tmp_path, monkeypatch):
    def given(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    given(b"video")
    with video_file("-", tmp_path) as path:
        assert path.read_bytes() == b"video" and path.name == "stdin"
    for content, told in ((b"", "standard input: is empty; send a video"), (bytes(11), "standard input: is larger")):
        given(content)
        monkeypatch.setattr(module, "LARGEST_DOWNLOAD", 10)
        with pytest.raises(MediaError, match=told), video_file("-", tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_on_the_hub(tmp_path, monkeypatch):
    with running_hub() as hub:
        lend_hub(monkeypatch, hub.address, tmp_path / "cache")
        for kind in ("dataset", "model"):
            repository = hub.repositories[kind, "owner/name"] = Repository(private=True)
            repository.commit({"clips/a clip.mp4": ("lfs", kind.encode())})
            repository.commit({"clips/a clip.mp4": ("lfs", b"other")}, "old")
        for address, content in (
            ("hf://datasets/owner/name/clips/a clip.mp4", b"dataset"),
            ("hf://owner/name/clips/a clip.mp4", b"model"),
            ("hf://models/owner/name@old/clips/a clip.mp4", b"other"),
        ):
            for _ in range(2):
                with video_file(address, tmp_path) as path:
                    assert path.read_bytes() == content and path.name == "a clip.mp4"
        with pytest.raises(MediaError, match="^hf://owner/name/b.mp4: cannot be fetched .*404.*; check the name"):
            with video_file("hf://owner/name/b.mp4", tmp_path):
                pass
        monkeypatch.setattr(module, "LARGEST_DOWNLOAD", 4)
        with pytest.raises(MediaError, match="^hf://owner/name/clips/a clip.mp4: is larger than"):
            with video_file("hf://owner/name/clips/a clip.mp4", tmp_path):
                pass


def test_what_is_no_address_on_the_hub_is_told(tmp_path):
    for video in ("hf://clip.mp4", "hf://owner/name", "hf://buckets/x", "hf://datasets/owner/name/"):
        with pytest.raises(MediaError, match="is no file on the Hub; expected hf://OWNER/NAME/FILE"):
            with video_file(video, tmp_path):
                pass
