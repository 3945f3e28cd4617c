import os
import shutil
import sys
from pathlib import Path

import pytest
from hub_server import running_hub, use_hub
from PIL import Image
from processes import finish, start

from ccformer_hf.cli import main as cli
from ccformer_hf.data.synthetic.clips import write_synthetic_set


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets") / "ms3"
    return write_synthetic_set(root, "ms3", clips=6, seed=0, workers=1, progress=False, size=32)


# make ----------------------------------------------------------------------------------------------------------------


def test_data_make(tmp_path, capsys):
    arguments = ["data", "make", str(tmp_path / "set"), "--setting", "ms3", "--clips", "3", "--seed", "4"]
    assert cli.main([*arguments, "--workers", "1"]) == 0
    assert "3 clips (1 train, 1 val, 1 test; ms3, seed 4) are in" in capsys.readouterr().out
    assert (tmp_path / "set" / "Multi-sources" / "ms3_meta_data.csv").exists()
    assert cli.main([*arguments, "--workers", "1"]) == 2
    assert "exists already" in capsys.readouterr().err


# check ---------------------------------------------------------------------------------------------------------------


def test_check_of_a_whole_set(synthetic, capsys):
    assert cli.main(["data", "check", str(synthetic)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["setting", "split", "clips", "whole", "missing", "unreadable", "odd"],
        ["ms3", "train", "4", "4", "0", "0", "0"],
        ["ms3", "validation", "1", "1", "0", "0", "0"],
        ["ms3", "test", "1", "1", "0", "0", "0"],
    ]
    assert len({len(line) for line in lines[:4]}) == 1, "the columns are aligned"
    assert lines[-1] == "All is fine."


def test_check_counts_names_and_tells_how_to_fix(synthetic, tmp_path, capsys):
    root = shutil.copytree(synthetic, tmp_path / "ms3")
    masks = sorted((root / "Multi-sources/ms3_data/gt_masks/test").glob("*/*.png"))
    for path in masks[:4]:
        path.unlink()
    Image.new("L", (8, 8)).save(masks[4])
    (root / "Multi-sources/ms3_data/audio_wav/test" / f"{masks[0].parent.name}.wav").write_bytes(b"")
    assert cli.main(["data", "check", str(root), "--setting", "ms3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split() == ["ms3", "test", "1", "0", "4", "1", "1"]
    at = lines.index("missing, ms3 test: files that are not there; copy or unpack them again, or take their clips out")
    assert lines[at + 1 : at + 5] == [*(f"  {path.relative_to(root)}" for path in masks[:3]), "  and 1 more"]
    assert sum(line.startswith("odd, ms3 test: ") for line in lines) == 1
    assert f"{masks[0].parent.name}.wav (it is empty)" in "\n".join(lines)
    assert lines[-1] != "All is fine."


def test_check_of_a_wrong_folder_is_one_line(synthetic, tmp_path, capsys):
    for root, told in ((tmp_path, "holds no s4_meta_data.csv"), (tmp_path / "no", "is not a folder")):
        assert cli.main(["data", "check", str(root)]) == 2
        told_all = capsys.readouterr()
        assert told_all.out == "" and told in told_all.err and len(told_all.err.splitlines()) == 1
    assert cli.main(["data", "check", str(synthetic), "--setting", "folder"]) == 2
    assert "classes.txt: there is no such file" in capsys.readouterr().err


# convert -------------------------------------------------------------------------------------------------------------


def convert_arguments(tmp_path: Path) -> list[str]:
    root = write_synthetic_set(tmp_path / "in", "ms3", 3, seed=0, workers=1, progress=False, size=48)
    return ["data", "convert", str(root), str(tmp_path / "out"), "--workers", "1"]


def test_convert(tmp_path, capsys):
    arguments = convert_arguments(tmp_path)
    assert cli.main([*arguments, "--setting", "ms3"]) == 0
    printed = capsys.readouterr()
    assert (
        printed.out
        == f"ms3: whole in {tmp_path / 'out'}; read with datasets.load_dataset('{tmp_path / 'out'}', 'ms3')\n"
    )
    assert "3/3" in printed.err and (tmp_path / "out" / "README.md").is_file()
    assert cli.main(arguments) == 0
    assert capsys.readouterr().err == ""  # nothing is left to convert


def test_convert_tells_what_is_missing(tmp_path, capsys):
    arguments = convert_arguments(tmp_path)
    next((tmp_path / "in").rglob("gt_masks/test/*/*_1.png")).unlink()
    assert cli.main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "lack files" in printed and "ccformer data check" in printed
    assert cli.main([*arguments, "--push-to-hub", "no owner"]) == 2
    assert "no owner: is not the name of a repository" in capsys.readouterr().err


def push_as_three(hub_address: str, arguments: list[str]) -> None:
    """With a token that may write, one that may not, and none; prints each exit code."""
    use_hub(hub_address)
    print(cli.main([*arguments, "--push-to-hub", "tester/set"]))
    os.environ["HF_TOKEN"] = "reads-only"
    print(cli.main([*arguments, "--push-to-hub", "tester/other"]))
    del os.environ["HF_TOKEN"]
    print(cli.main([*arguments, "--push-to-hub", "tester/other"]))


def test_convert_pushes_to_a_private_repository(tmp_path):
    with running_hub(readers=("reads-only",)) as hub:
        printed = tmp_path / "printed.txt"
        process = start(push_as_three, hub.address, convert_arguments(tmp_path), output=printed)
        lines = finish(process, printed).splitlines()
    out = tmp_path / "out"
    told = [line for line in lines if line.startswith("uploaded") or line.isdigit()]
    assert told == [f"uploaded to {hub.address}/datasets/tester/set", "0", "2", "2"]
    errors = [line for line in lines if line.startswith("ccformer: error: ")]
    assert len(errors) == 2
    assert "tester/other: you have no right to write there" in errors[0] and "that may write there" in errors[0]
    assert "tester/other: the Hub does not know who you are" in errors[1] and "hf auth login" in errors[1]
    assert list(hub.repositories) == [("dataset", "tester/set")]
    assert hub.repositories["dataset", "tester/set"].private
    assert len(hub.repositories["dataset", "tester/set"].trees) == 2  # the empty one, and one upload
    assert hub.files("dataset", "tester/set") == {
        path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


def test_convert_alone_does_not_wait_for_what_uploads(tmp_path, monkeypatch):
    """Publishing needs PyTorch and transformers, which take seconds before anything is to be seen."""
    monkeypatch.setitem(sys.modules, "ccformer_hf.hub", None)  # importing it fails
    arguments = convert_arguments(tmp_path)
    assert cli.main(arguments) == 0
    with pytest.raises(ImportError):
        cli.main([*arguments, "--push-to-hub", "owner/name"])
