"""Work that processes of one launch share: who does what, and the commands that use it, in two real processes."""

import csv
import json
import time
from collections import Counter
from pathlib import Path

from made_media import make_video
from processes import in_two_processes

from ccformer_hf.cli import main as cli
from ccformer_hf.shared_work import SharedWork


def test_one_process_does_everything_in_order():
    work = SharedWork()
    with work.main_first():
        assert list(work.take(3)) == [0, 1, 2] and work.gather(["all"]) == ["all"]


def take_five(folder: Path) -> None:
    """The main process is slow; each writes down what it took, and when it entered the block."""
    work = SharedWork()
    with work.main_first():
        if work.is_main:
            time.sleep(0.3)
        entered = time.time()
    taken = []
    for number in work.take(5):
        time.sleep(1.0 if work.is_main else 0.02)
        taken.append([work.rank, number])
    everything = work.gather(taken)
    (folder / f"{work.rank}.json").write_text(json.dumps([entered, everything]))


def test_whoever_is_free_takes_the_next_piece(tmp_path):
    in_two_processes(take_five, tmp_path, folder=tmp_path)
    (main_entered, everything), (other_entered, nothing) = (
        json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)
    )
    assert nothing is None and sorted(number for _, number in everything) == [0, 1, 2, 3, 4]
    assert Counter(rank for rank, _ in everything) == {0: 1, 1: 4}
    assert other_entered > main_entered


def segment_all(videos: list[str], options: list[str]) -> int:
    return cli.main(["segment", *videos, *options])


def report(output: Path) -> list[list[str]]:
    with open(output / "report.csv", newline="") as file:
        return list(csv.reader(file))[1:]


def test_two_processes_share_the_videos_and_a_second_run_does_what_is_missing(folder, tmp_path, capsys):
    """Five of them have one name: who names a folder first gets it, and none is lost."""
    videos = []
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        videos.append(str(make_video(tmp_path / str(number) / "clip.mp4", 0.5 + number)))
    (tmp_path / "bad.mp4").write_text("no video")
    videos.append(str(tmp_path / "bad.mp4"))
    output = tmp_path / "out"
    options = ["--model", str(folder), "--format", "json", "-o", str(output)]
    printed = in_two_processes(segment_all, videos, options, folder=tmp_path, code=1)
    assert f"{output / 'report.csv'}\n5 of 6 videos done, 1 failed\n" in printed
    rows = report(output)
    assert [row[0] for row in rows] == videos and [row[1] for row in rows] == ["done"] * 5 + ["failed"]
    assert len({row[2] for row in rows}) == 6 and "bad.mp4: is not a video" in rows[5][3]
    for number, (_, _, place, _) in enumerate(rows[:5]):
        length = json.loads((Path(place) / "segments.json").read_text())["source"]["duration"]
        assert abs(length - (0.5 + number)) < 0.1

    (Path(rows[3][2]) / "segments.json").unlink()
    Path(videos[1]).touch()  # as if it had changed
    assert cli.main(["segment", *videos[:5], *options, "--resume"]) == 0
    assert [row[1] for row in report(output)] == ["done before", "done", "done before", "done", "done before"]
    assert [row[2] for row in report(output)] == [row[2] for row in rows[:5]]
    assert cli.main(["segment", *videos[:2], *options, "--resume", "--threshold", "0.4"]) == 0
    assert [row[1] for row in report(output)] == ["done", "done"]  # with other settings
    assert "clip.mp4: done before, see " in capsys.readouterr().out
