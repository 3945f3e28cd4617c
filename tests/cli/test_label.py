import numpy as np
import pytest
from made_media import make_video
from tiny_networks import save_ast, save_clap, save_grounding_dino, save_sam2, save_sam3

from ccformer_hf.cli import main as cli
from ccformer_hf.data.loading import load_folder
from ccformer_hf.inference.contained_media import probe
from ccformer_hf.labelling.agreement import Thresholds
from ccformer_hf.labelling.classes import read_classes
from ccformer_hf.labelling.labelling import label_clip
from ccformer_hf.labelling.segmenter import load_segmenter
from ccformer_hf.labelling.tagger import load_tagger
from ccformer_hf.labelling.videos import iter_clips

MAKE = {"ast": save_ast, "clap": save_clap, "sam3": save_sam3, "dino": save_grounding_dino, "sam2": save_sam2}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label")
    (folder / "classes.txt").write_text("dog: Dog; Bark | a dog\npiano\n")
    make_video(folder / "clip.mp4", 2)
    for name, save in MAKE.items():
        save(folder / name)
    return folder


@pytest.mark.parametrize(
    "tagger, segmenter, heard, drawn", [("ast", ["sam3"], "0.4", "0.2"), ("clap", ["dino", "sam2"], "0.3", "0.95")]
)
def test_label_writes_a_set_that_can_be_struck(place, tmp_path, capsys, tagger, segmenter, heard, drawn):
    out = tmp_path / "set"
    networks = [str(place / name) for name in segmenter]
    command = ["data", "label", str(place / "clip.mp4"), "-o", str(out), "--classes", str(place / "classes.txt")]
    command += ["--tagger", str(place / tagger), "--segmenter", *networks, "--device", "cpu"]
    assert cli.main([*command, "--seconds", "5", "--heard", heard, "--drawn", drawn]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"1 clips (1 train) are in {out}\nmarked: ") and "labelling" in told.err

    classes = read_classes(place / "classes.txt")
    listens, draws = load_tagger(str(place / tagger), classes, "cpu"), load_segmenter(networks, "cpu")
    (clip,) = iter_clips(probe(place / "clip.mp4"), 5, listens.sampling_rate)
    expected, _ = label_clip(clip, classes, listens, draws, Thresholds(float(heard), float(drawn)))
    (row,) = load_folder(out, "train")
    assert row["id"] == "clip-00000" and len(np.unique(expected)) > 1
    np.testing.assert_array_equal(np.asarray(row["labels"]), expected)

    review = (out / "review.csv").read_text()
    (out / "review.csv").write_text(review.replace("yes", "no"))
    assert cli.main(["data", "strike", str(out)]) == 0
    assert capsys.readouterr().out == "0 classes struck out of clips, 1 clips removed\n"
    assert list((out / "train").iterdir()) == []


def test_each_fault_is_one_line_and_nothing_is_written(place, tmp_path, capsys):
    out = tmp_path / "set"
    clip, classes = str(place / "clip.mp4"), str(place / "classes.txt")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "other.txt").write_text("Dogs: Dogs\n")
    ast = str(place / "ast")
    for arguments, told in {
        (str(tmp_path / "broken.mp4"), "--classes", classes): "is not a video or sound file",
        (clip, "--classes", str(tmp_path / "none.txt")): "none.txt: there is no such file; write one class per line",
        (clip, "--classes", classes, "--tagger", str(tmp_path / "none")): "none: cannot be found",
        (clip, "--classes", str(tmp_path / "other.txt"), "--tagger", ast): "has no label 'Dogs'; near are dog",
        (clip, "--classes", classes, "--tagger", ast, "--segmenter", ast): "expected a SAM 3, or a Grounding DINO",
        (clip, "--classes", classes, "--heard", "0"): "heard is 0.0",
    }.items():
        assert cli.main(["data", "label", *arguments, "-o", str(out), "--device", "cpu"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("ccformer: error: ") and told in line
        assert not out.exists()
    assert cli.main(["data", "strike", str(tmp_path)]) == 2
    assert "classes.txt: there is no such file" in capsys.readouterr().err
