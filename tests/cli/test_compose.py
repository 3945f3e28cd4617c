import numpy as np
import pytest
from made_sources import write_sources

from ccformer_hf.cli import main as cli
from ccformer_hf.data.loading import load_folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"))


def test_compose_writes_a_set(sources, tmp_path, capsys):
    out = tmp_path / "set"
    assert (
        cli.main(["data", "compose", str(sources), "-o", str(out), "--clips", "10", "--seed", "2", "--workers", "1"])
        == 0
    )
    printed = capsys.readouterr()
    assert printed.out == f"10 clips (8 train, 1 validation, 1 test; seed 2) are in {out}\n"
    assert "composing clips" in printed.err
    assert np.unique(load_folder(out, "train")[0]["labels"]).max() <= 255


def test_compose_without_output_counts_and_reads_everything(sources, tmp_path, capsys):
    assert cli.main(["data", "compose", str(sources)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "train pictures sounds validation pictures sounds test pictures sounds".split()
    assert [line.split() for line in lines[1:5]] == [
        ["background", "2", "1", "2", "1", "2", "1"],
        ["bell", "4", "4", "1", "1", "1", "1"],
        ["cat", "8", "4", "2", "1", "2", "1"],
        ["dog", "8", "4", "2", "1", "2", "1"],
    ]
    assert lines[-1] == "All files can be used."
    broken = write_sources(tmp_path)
    (tmp_path / "train" / "sounds" / "cat" / "cat1.wav").write_bytes(b"no sound")
    assert cli.main(["data", "compose", str(broken)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "cat1.wav" in lines[-2] and lines[-1] == "1 files cannot be used; leave them out, or fix them"


def test_a_fault_in_the_sources_is_one_line(tmp_path, capsys):
    path = tmp_path / "sources.yaml"
    path.write_text("classes: [cat]\nsonuds: []\n")
    assert cli.main(["data", "compose", str(path)]) == 2
    told = capsys.readouterr()
    assert (
        told.out == ""
        and f"ccformer: error: {path}, line 2: a sources file has no 'sonuds' (did you mean 'sounds'?)" in told.err
    )
