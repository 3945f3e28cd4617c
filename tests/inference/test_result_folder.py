import json
import os
from pathlib import Path

import pytest
from made_media import make_video

from ccformer_hf.inference import result_folder as module
from ccformer_hf.inference import results
from ccformer_hf.inference.segmenting import segment_video
from ccformer_hf.model.inference_settings_ccformer import InferenceSettings
from ccformer_hf.model.processing_ccformer import AudioVisualProcessor


def test_only_a_result_of_the_same_video_is_replaced(loaded, video, tmp_path):
    (tmp_path / "out" / "clip").mkdir(parents=True)
    (tmp_path / "out" / "clip" / "diary.txt").write_text("mine")
    other = make_video(tmp_path / "clip.mp4", 0.5)
    for path, name in ((video, "clip.mp4"), (other, "clip.mp4 (2)"), (video, "clip.mp4")):
        result = segment_video(path, tmp_path / "out", loaded, formats=["json"])
        assert result.folder.name == name and result.json.parent == result.folder
    assert sorted(os.listdir(tmp_path / "out")) == ["clip", "clip.mp4", "clip.mp4 (2)"]
    assert (tmp_path / "out" / "clip" / "diary.txt").read_text() == "mine"
    lengths = [
        json.loads((tmp_path / "out" / name / "segments.json").read_text())["source"]["duration"]
        for name in ("clip.mp4", "clip.mp4 (2)")
    ]
    assert lengths == pytest.approx([4.0, 0.5], abs=0.1)
    assert str(tmp_path) not in (result.folder / ".source").read_text()


def test_a_result_is_made_with_the_calibration_of_its_scores(loaded, tmp_path):
    (tmp_path / "clip.mp4").touch()
    model, processor = loaded
    marks = [
        module.made_with(tmp_path / "clip.mp4", model, one, InferenceSettings(), "looks")
        for one in (processor, *(AudioVisualProcessor(score_calibration=[slope, 0.0]) for slope in (1.0, 1.0, 2.0)))
    ]
    assert marks[1] == marks[2] and len(set(marks[1:])) == 2


def test_what_someone_put_into_a_result_is_not_lost(tmp_path):
    source = tmp_path / "clip.mp4"
    folder = tmp_path / "out" / "clip"
    folder.mkdir(parents=True)
    (folder / ".source").write_text(module._checksum(source))
    assert module.result_folder(tmp_path / "out", source) == folder
    (folder / "diary.txt").write_text("mine")
    assert module.result_folder(tmp_path / "out", source).name == "clip.mp4"
    inside = tmp_path / "overlay" / "overlay.mp4"
    inside.parent.mkdir()
    inside.write_bytes(b"")
    (inside.parent / ".source").write_text(module._checksum(inside))
    assert module.result_folder(tmp_path, inside).name == "overlay.mp4"


def test_two_runs_at_once_do_not_replace_each_other(loaded, tmp_path, monkeypatch):
    path = make_video(tmp_path / "clip.mp4", 0.5)
    save = results._save_mask

    def while_another_finishes(*given):
        (tmp_path / "out" / "clip").mkdir(exist_ok=True)
        (tmp_path / "out" / "clip" / ".source").write_text("another's")
        save(*given)

    monkeypatch.setattr(results, "_save_mask", while_another_finishes)
    assert segment_video(path, tmp_path / "out", loaded, formats=["masks"]).folder.name == "clip.mp4"
    assert sorted(os.listdir(tmp_path / "out")) == ["clip", "clip.mp4"]


def test_a_name_is_taken_with_its_mark_or_not_at_all(tmp_path, monkeypatch):
    source = tmp_path / "clip.mp4"
    mark = module.mark_result

    def killed(folder, *given):
        mark(folder, *given)
        assert not (tmp_path / "clip").exists()  # nothing of that name before the mark is in it
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "mark_result", killed)
    with pytest.raises(KeyboardInterrupt):
        module.claim_folder(tmp_path, source, "x")
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    (tmp_path / "clip").mkdir()  # as versions before this one left it when they were killed
    assert module.claim_folder(tmp_path, source, "x") == tmp_path / "clip"
    assert os.listdir(tmp_path) == ["clip"] and os.listdir(tmp_path / "clip") == [".source"]
    assert module.claim_folder(tmp_path, source, "x") == tmp_path / "clip"
    assert module.claim_folder(tmp_path, tmp_path / "b" / "clip.mp4", "x") == tmp_path / "clip.mp4"


def test_an_empty_folder_that_cannot_be_replaced_is_left_to_its_owner(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    rename, refused = os.rename, []

    def refuse(marked, folder):
        if folder == tmp_path / "clip":
            refused.append(folder)
            raise PermissionError
        rename(marked, folder)

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(module.Path, "rmdir", lambda folder: refuse(folder, folder))
    assert module.claim_folder(tmp_path, tmp_path / "clip.mp4", "x") == tmp_path / "clip.mp4"
    assert len(refused) == 2


def test_of_two_that_want_a_name_one_gets_it(tmp_path, monkeypatch):
    rename = os.rename

    def after_another(marked, folder):
        monkeypatch.undo()
        module.claim_folder(tmp_path, tmp_path / "b" / "clip.mp4", "x")
        rename(marked, folder)

    monkeypatch.setattr(os, "rename", after_another)
    assert module.claim_folder(tmp_path, tmp_path / "clip.mp4", "x") == tmp_path / "clip.mp4"
    assert sorted(os.listdir(tmp_path)) == ["clip", "clip.mp4"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        module.claim_folder(tmp_path / "none", tmp_path / "clip.mp4", "x")


@pytest.mark.parametrize(
    "name, wanted",
    [
        ("clip.tar.mp4", "clip.tar"),
        ("clip", "clip"),
        ("..mp4", "video"),
        ("...mp4", "video"),
        (".mp4", "mp4"),
        ("clip. .mp4", "clip"),
        ("CON.mp4", "_CON"),
        ("lpt1.a.mp4", "_lpt1.a"),
        ("connie.mp4", "connie"),
        ("\u65e5" * 82 + "ab.mp4", "\u65e5" * 82 + "ab"),
    ],
)
def test_names_of_results(tmp_path, name, wanted):
    assert module.result_folder(tmp_path, Path(name)) == tmp_path / wanted


def test_the_longest_names(tmp_path):
    source = Path("\u65e5" * 83 + "ab.mp4")  # 255 bytes
    for expected in (251, 255, 3 * 81 + 4, 3 * 81 + 4):
        folder = module.result_folder(tmp_path, source)
        assert len(os.fsencode(folder.name)) == expected
        folder.touch()
    assert folder.name.endswith(" (3)")
