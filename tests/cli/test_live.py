"""`ccformer segment --live`, with a pipe for standard input."""

import json

import pytest
from live_stream import FPS, PICTURES, Pipe
from PIL import Image

from ccformer_hf.cli.live import PICTURE_FILE, RECORDS_FILE
from ccformer_hf.cli.main import main


def test_a_stream_is_told_line_by_line_and_kept(monkeypatch, tmp_path, capsys):
    Pipe(monkeypatch, let_out=PICTURES)
    assert main(["segment", "--live", "-", "--model", "ccformer-tiny", "-o", str(tmp_path), "--window", "2"]) == 0
    (folder,) = tmp_path.iterdir()
    records = [json.loads(line) for line in (folder / RECORDS_FILE).read_text().splitlines()]
    assert records[-1]["time"] == pytest.approx((PICTURES - 1) / FPS, abs=0.3) and records[-1]["delay"] > 0
    with Image.open(folder / PICTURE_FILE) as picture:
        assert picture.size == (64, 48)
    told = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("s behind") for line in told) == len(records)
    assert told[-1].startswith(f"{len(records)} pictures, ")


def test_a_stream_without_media_leaves_nothing(monkeypatch, tmp_path, capsys):
    pipe = Pipe(monkeypatch, let_out=0, pictures=0)
    assert pipe and main(["segment", "--live", "-", "--model", "ccformer-tiny", "-o", str(tmp_path / "out")]) == 2
    assert "standard input" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [["a.mp4", "b.mp4"], ["-", "--resume"], ["-", "--fps", "all"], ["-", "--format", "json"]]
)
def test_what_does_not_go_with_live_is_told(wrong, capsys):
    with pytest.raises(SystemExit):
        main(["segment", "--live", *wrong])
    assert "--live takes one source" in capsys.readouterr().err
