"""The example scripts with the arguments that a user gives them."""

import json
import re
import runpy
import sys
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_sources import CLASSES, write_sources
from PIL import Image
from small_model import AUDIO_ENCODERS, SMALL_NETWORK

from ccformer_hf import AudioVisualProcessor, CCFormerConfig, load
from ccformer_hf.cli import main as cli
from ccformer_hf.data.composing.composed import ComposedSound
from ccformer_hf.data.composing.pairing import InView
from ccformer_hf.data.loading import load_folder
from ccformer_hf.inference.rle import encoded
from ccformer_hf.training.initial_model import initial_model
from ccformer_hf.training.recipe import Recipe

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script of `examples/` with arguments, in this process; gives what it printed."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), *arguments])
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            assert not end.code, capsys.readouterr().err[-3000:]
        return capsys.readouterr().out

    return run


def test_sound_decides_prints_ten_figures(run):
    printed = run("sound_decides.py", "--clips", "1", "--device", "cpu")
    values = re.findall(r" (\d\.\d{4})$", printed, flags=re.MULTILINE)
    assert len(values) == 10 and all(0 <= float(value) <= 1 for value in values)


def test_benchmark_of_a_whole_file_says_how_many_times_real_time(run):
    printed = run("benchmark_file.py", "--seconds", "0.2", "--only", "json", "--rounds", "1")
    assert re.search(r"^made\.mp4: 0\.2 s of 1280 x 720 at 25 frames per second; ccformer-tiny", printed, re.MULTILINE)
    seconds, times, computing, memory = map(
        float, re.findall(r"  json +([\d.]+) s = +([\d.]+) x .*, +([\d.]+) s .*, +(\d+) MB", printed)[0]
    )
    assert times == pytest.approx(0.2 / seconds, abs=0.1) and 0 < computing < 60 and memory > 100


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None  # as it is to be committed
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert "emergency-car" in printed and printed.count("1 steps; best validation mIoU 0.") == 2
    assert list(names["result"].segments["classes"].values()) == ["background", "frying-food", "saw", "sheep", "train"]
    assert (tmp_path / "runs" / "swin" / "best" / "model.safetensors").is_file()


def write_tone(path: Path, seconds: float, hertz: float = 440.0, rate: int = 22050) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.7 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


PICTURE, COLUMNS = np.zeros((24, 32, 3), np.uint8), "cateName,img_Id,ann_Ids,vgg_file,split,multi_instance\n"


def checked(folder: Path):
    """The clips of a folder that `ccformer data check` finds nothing wrong with."""
    assert cli.main(["data", "check", str(folder), "--setting", "folder"]) == 0
    return load_folder(folder)


def test_vpo_becomes_a_folder_of_clips(run, tmp_path):
    root = tmp_path / "VPO"
    mask = np.zeros((24, 32), np.uint8)
    mask[4:8, 4:8], mask[10:20, 10:20], mask[0] = 18, 93, 255  # a dog, a woman
    for name in ("a", "b"):
        write_tone(tmp_path / "sounds" / f"{name}.wav", 10.0)
    # VPO-MS: a picture with two sounds; VPO-SS: folders of classes; VPO-MSMI: the first is in VPO-MS.
    save(PICTURE, root / "VPO-MS" / "data" / "000000000009.jpg")
    save(mask, root / "VPO-MS" / "mask" / "000000000009.png")
    both = "dog,9,5,a,train,0\nfemale,9,6,b,train,0\n"
    (root / "VPO-MS" / "table.csv").write_text(COLUMNS.replace(",multi_instance", "") + both.replace(",0\n", "\n"))
    save(PICTURE, root / "VPO-SS" / "data" / "dog" / "000000000009.jpg")
    save(mask, root / "VPO-SS" / "mask" / "dog" / "000000000009_000000000005.png")
    (root / "VPO-SS" / "table.csv").write_text(COLUMNS + "dog,9,5,a,val,\n")
    (root / "VPO-MSMI").mkdir()
    (root / "VPO-MSMI" / "table.csv").write_text(COLUMNS + both)
    for part, split in (("VPO-MS", "train"), ("VPO-SS", "test"), ("VPO-MSMI", "train")):
        printed = run(
            "folder_from_vpo.py", str(root / part / "table.csv"), str(tmp_path / "sounds"), str(tmp_path / part)
        )
        assert f"1 clips are in {tmp_path / part}; look" in printed
        (row,) = checked(tmp_path / part)[split]
        names = load_folder(tmp_path / part, split).features["labels"].names
        values = [int(row["labels"][0][at]) for at in ((5, 5), (15, 15), (0, 0), (23, 31))]
        assert [names[value] if value < 255 else value for value in values] == ["dog", "female", 255, "background"]
        assert len(row["sound"]["waveform"]) == row["sound"]["sampling_rate"] == 16000
        loudest = np.abs(row["sound"]["waveform"]).max()
        assert loudest == pytest.approx(0.7 if part == "VPO-SS" else 1.0, abs=0.01)


def test_vpo_names_the_clips_of_two_subsets_apart_and_a_sound_that_is_empty(run, tmp_path):
    root, sounds = tmp_path / "VPO", tmp_path / "sounds"
    for part, value in (("VPO-MS", 18), ("VPO-MSMI", 93)):
        save(PICTURE, root / part / "data" / "000000000009.jpg")
        save(np.full((24, 32), value, np.uint8), root / part / "mask" / "000000000009.png")
    (root / "VPO-MSMI" / "table.csv").write_text(COLUMNS + "dog,9,5,a,train,0\nfemale,9,6,a,train,1\n")
    write_tone(sounds / "a.wav", 1.0)
    arguments = ["folder_from_vpo.py", str(root / "VPO-MSMI" / "table.csv"), str(sounds)]
    assert run(*arguments, str(tmp_path / "mine")).startswith("2 clips are in ")
    assert {path.name for path in (tmp_path / "mine" / "train").iterdir()} == {
        "VPO-MS-mask-000000000009", "VPO-MSMI-mask-000000000009",
    }  # fmt: skip
    write_tone(sounds / "a.wav", 0.0)
    with pytest.raises(AssertionError, match=r"a\.wav: its sound cannot be decoded; copy it again"):
        run(*arguments, str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_aviseg_becomes_a_folder_of_clips(run, tmp_path):
    root, files = tmp_path / "AVISeg", ["v1/00000.jpg", "v1/00001.jpg"]
    for file in files:
        save(PICTURE, root / "val" / "JPEGImages" / file)
    write_tone(tmp_path / "sounds" / "v1.wav", 2.2)
    mask = np.zeros((24, 32), bool)
    mask[4:8, 4:8] = True
    runs = encoded(mask)
    columns = {"size": [24, 32], "counts": [0, 24, 24 * 31]}  # the first column
    square = [[20, 10, 28, 10, 28, 18, 20, 18]]
    table = {
        "videos": [{"id": 7, "width": 32, "height": 24, "length": 2, "file_names": files}],
        "categories": [{"id": 2, "name": "violin"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "video_id": 7, "category_id": 2, "segmentations": [runs, None]},
            {"id": 2, "video_id": 7, "category_id": 1, "segmentations": [columns, square]},
        ],
    }
    (root / "val.json").write_text(json.dumps(table))
    arguments = ["folder_from_aviseg.py", str(root), str(tmp_path / "sounds")]
    assert run(*arguments, str(tmp_path / "mine")).startswith("1 clips are in ")
    (row,) = checked(tmp_path / "mine")["validation"]
    first, second = row["labels"]
    assert load_folder(tmp_path / "mine", "validation").features["labels"].names == ["background", "person", "violin"]
    assert (first == 2).sum() == 16 and (first[4:8, 4:8] == 2).all()
    assert (first == 1).sum() == 24 and (first[:, 0] == 1).all()
    assert (second[11:17, 21:27] == 1).all() and set(np.unique(second)) == {0, 1}
    write_tone(tmp_path / "sounds" / "v1.wav", 0.4)  # five frames a second
    with pytest.raises(AssertionError, match=r"v1.wav: lasts 0.4 s for 2 frames, expected one per second"):
        run(*arguments, str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_what_is_wrong_in_aviseg_is_told_with_its_name(run, tmp_path):
    root, output = tmp_path / "AVISeg", tmp_path / "mine"
    save(PICTURE, root / "train" / "JPEGImages" / "v1" / "0.jpg")
    write_tone(tmp_path / "sounds" / "v1.wav", 1.0)
    video = {"id": 7, "width": 32, "height": 24, "length": 1, "file_names": ["v1/0.jpg"]}
    person = [{"id": 1, "name": "person"}]
    two = [{"id": 1, "video_id": 7, "category_id": 1, "segmentations": [None, None]}]

    def refused(split: str, videos: list, categories: list, annotations: list, message: str) -> None:
        table = {"videos": videos, "categories": categories, "annotations": annotations}
        (root / f"{split}.json").write_text(json.dumps(table))
        with pytest.raises(AssertionError, match=message):
            run("folder_from_aviseg.py", str(root), str(tmp_path / "sounds"), str(output))
        assert not output.exists()

    pictures = {**video, "file_names": ["v1/0.jpg", "v1/1.jpg"]}
    refused("train", [video], person, two, r"v1/0\.jpg: its video has 2 segmentations, expected its length, 1")
    refused("train", [pictures], person, [], r"v1/0\.jpg: its video has 2 file_names, expected its length, 1")
    refused("train", [{**video, "file_names": []}], person, [], r"train\.json: the video 7 has no file_names")
    refused("train", [video, video], person, [], r"train\.json: two videos have their pictures in v1")
    (root / "train.json").write_text(json.dumps({"videos": [], "categories": person}))
    violin = [*person, {"id": 2, "name": "violin"}]
    refused("val", [], violin, [], r"val\.json: has the category 'violin', expected one of person")


def test_reliability_prints_three_tables_and_fits_a_calibration(run, tmp_path):
    picture, fitted = tmp_path / "reliability.png", tmp_path / "fitted"
    printed = run(
        "reliability.py", "--clips", "4", "--threshold", "0.02", "--picture", str(picture), "--fit", str(fitted)
    )
    errors = re.findall(r"^([a-z ]+): expected calibration error \d\.\d{3}$", printed, re.MULTILINE)
    assert errors == ["per second and class", "not in view", "per pixel"]
    assert picture.stat().st_size > 1000
    processor = AudioVisualProcessor.from_pretrained(fitted)
    assert f"score_calibration {processor.score_calibration}: written to {fitted}" in printed
    assert processor.unseen_calibration[0] > 0


def test_a_calibration_by_hand():
    """Of what was said with 0.8 a half came true, of what was said with 0.2 a quarter."""
    fitted = runpy.run_path(str(EXAMPLES / "reliability.py"))["fitted"]
    many = 1000
    slope, shift = fitted([(0.8, True), (0.8, False)] * 2 * many + [(0.2, True)] * many + [(0.2, False)] * 3 * many)
    assert slope == pytest.approx(np.log(3) / np.log(16), abs=0.01)  # logits of +-log 4 become 0 and -log 3
    assert shift == pytest.approx(-np.log(3) / 2, abs=0.01)
    with pytest.raises(SystemExit, match="no calibration fits 3 cases, 3 of them right; give it more --clips"):
        fitted([(0.9, True), (0.8, True), (0.7, True)])
    with pytest.raises(SystemExit, match="no calibration fits 0 cases"):
        fitted([])
    with pytest.raises(SystemExit, match="no calibration fits 2000 cases"):  # it would take a slope of 100 or so
        fitted([(0.51, True), (0.49, False)] * many)


def test_the_calibration_error_by_hand():
    table = runpy.run_path(str(EXAMPLES / "reliability.py"))["Reliability"]()
    table.add(np.array([0.9, 0.9, 0.9, 0.9, 1.0]), np.array([True, True, True, False, True]))
    table.add(np.array([0.55]), np.array([False]))
    # Of six, five with 0.92 on average of which 0.8 are right, one with 0.55 that is wrong.
    assert table.error() == pytest.approx((5 * 0.12 + 0.55) / 6)
    assert table.rows()[9] == (5, pytest.approx(0.92), pytest.approx(0.8)) and table.rows()[0][0] == 0


def test_objects_of_a_result_have_a_mask_for_each_look():
    script = runpy.run_path(str(EXAMPLES / "like_objects.py"))
    seen = {"id": 7, "score": 0.5, "box": [1, 1, 2, 3], "rle": {"size": [4, 3], "counts": "525"}}
    frames = [{"sounding": []}, {"sounding": [{"id": 2, "objects": [seen]}]}]
    objects = [{"id": 7, "class_id": 2, "score": 0.5}]
    (found,) = script["objects_of"]({"source": {"height": 4, "width": 3}, "frames": frames, "objects": objects})
    assert (found.class_id, found.score, found.masks.shape) == (2, 0.5, (2, 4, 3))
    assert not found.masks[0].any() and np.argwhere(found.masks[1]).tolist() == [[1, 1], [2, 1]]


def test_a_frame_hears_its_neighbours_and_itself_where_there_are_none(maintainers):
    from tune_hearing import joined, neighbours

    near = neighbours(torch.tensor([True, True, False, True]))  # its own, a second sooner and later, two
    assert near.tolist() == [[0, 0, 1, 0, 0], [1, 0, 1, 1, 3], [2, 1, 3, 0, 2], [3, 3, 3, 1, 3]]
    clip = (torch.zeros(4, 1), torch.zeros(4, 3), torch.zeros(4, 3), near)
    *others, together = joined([clip, clip])
    assert [tuple(values.shape) for values in others] == [(8, 1), (8, 3), (8, 3)]
    assert together[4:].tolist() == (near + 4).tolist() and together[:4].tolist() == near.tolist()


def test_hearing_begins_part_of_the_way_back_is_tuned_and_exchanged(run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES / "maintainers"))
    sources, names = write_sources(tmp_path / "sources"), ("background", *CLASSES)
    audio = AUDIO_ENCODERS["mobilenet"]
    recipe = Recipe(size=64, model={**SMALL_NETWORK, "audio_config": audio, "use_audio_classifier": True})
    model, processor = initial_model(recipe, names)
    model.save_pretrained(tmp_path / "seeing")
    processor.save_pretrained(tmp_path / "seeing")
    # A tagger of six tags, of which two are a bell's, and the list of its tags with those of each class.
    tagger = initial_model(recipe, names)[0].model
    first = tagger.audio_classifier[0]
    head = {
        "classifier.2.weight": first.weight.detach() + 1, "classifier.2.bias": first.bias.detach(),
        "classifier.5.weight": torch.randn(6, len(first.bias)), "classifier.5.bias": torch.zeros(6),
    }  # fmt: skip
    torch.save({**tagger.audio_backbone.encoder.state_dict(), **head}, tmp_path / "tagger.pt")
    tags = ("Bell", "Chime", "Cat", "Dog", "Rain", "Wind")
    rows = "".join(f"{number},{name}\n" for number, name in enumerate(tags))
    (tmp_path / "labels.csv").write_text("index,display_name\n" + rows)
    (tmp_path / "tags.yaml").write_text("{bell: [Bell, Chime], cat: [Cat], dog: [Dog]}")

    given = ["--sources", str(sources), "--steps", "1", "--check", "1", "--tagger"]
    given += [str(tmp_path / name) for name in ("tagger.pt", "labels.csv", "tags.yaml")]
    printed = run(
        "maintainers/tune_hearing.py", str(tmp_path / "seeing"), *given, "--back", "1", "--output", str(tmp_path / "h")
    )
    assert printed.startswith("before: of ") and "\nafter: of " in printed
    hears, hears_by = load(str(tmp_path / "h"), "cpu")
    assert hears_by.feature_extractor.sound_shifts == [-1, 1, -2, 2]
    # It began as the tagger. The rate of the only step is a fiftieth, and the average moved a hundredth of the way.
    torch.testing.assert_close(hears.model.audio_classifier[0].weight, head["classifier.2.weight"], atol=1e-6, rtol=0)
    assert not torch.equal(hears.model.audio_classifier[0].weight, head["classifier.2.weight"])
    assert hears.model.audio_classifier[2].weight[0].allclose(head["classifier.5.weight"][0], atol=1e-6)
    kept = ("model.audio_backbone.", "model.audio_classifier.")
    for name, values in hears.state_dict().items():
        assert name.startswith(kept) or torch.equal(values, model.state_dict()[name])

    run(
        "maintainers/exchange_hearing.py", str(tmp_path / "seeing"), "--hearing", str(tmp_path / "seeing"),
        str(tmp_path / "h"), "--sources", str(sources), "--clips", "2", "--output", str(tmp_path / "both"),
    )  # fmt: skip
    both = load(str(tmp_path / "both"), "cpu")[0].state_dict()
    for name, values in model.state_dict().items():
        if name.startswith(kept) and values.is_floating_point():
            torch.testing.assert_close(both[name], (values + hears.state_dict()[name]) / 2)
        elif not name.startswith("model.audio_projection.0."):
            assert torch.equal(both[name], values)


def test_what_is_forgotten_of_the_tags_by_hand(maintainers):
    from tune_hearing import Tagger

    tagger = SimpleNamespace(
        backbone=torch.nn.Identity(), classifier=None, told=lambda embedding, classifier: embedding * (classifier or 1)
    )
    # Of one tag, as probable as not in what the frames hear, the mean over the two.
    sounds, near = torch.tensor([[2.0], [-2.0], [0.0]]), torch.tensor([[2, 2], [2, 2]])
    longer = torch.full((2, 2, 1), 3.0).log()
    # Told twice the logit log 3, a probability of 9 / 10: ln(0.5 / 0.9) / 2 + ln(0.5 / 0.1) / 2.
    expected = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
    assert float(Tagger.forgotten(tagger, sounds, near, longer, 2)) == pytest.approx(expected)
    assert float(Tagger.forgotten(tagger, sounds, near, longer * 0, 2)) == pytest.approx(0, abs=1e-7)


@pytest.fixture
def maintainers(monkeypatch):
    """Makes the maintainers' scripts importable."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "maintainers"))


def test_the_classifier_of_sounds_learns_what_is_in_view_and_off_screen(maintainers):
    from add_audio_classifier import ELSEWHERE, UNKNOWN, how_much_it_counts, what_sounds

    config = CCFormerConfig(id2label={0: "background", 1: "car", 2: "cat", 3: "dog", 4: "hen"})
    sound = ComposedSound(
        view=InView(photograph=None, in_place=(2,), pasted=()),
        waveform=np.zeros(48000, np.float32),
        audible=np.array([[1, 0, 255]], np.uint8),
        off_screen_audible=np.array([0, 1, 0], np.uint8),
        audio_kind="objects",
        off_screen="dog",
        files=(),
    )
    assert what_sounds(sound, config).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, UNKNOWN, 0, 0]]
    assert how_much_it_counts(sound, config).tolist() == [[np.float32(ELSEWHERE), 1, 1, np.float32(ELSEWHERE)]] * 3
    sound.off_screen = "rain"  # of no class
    assert what_sounds(sound, config)[1].tolist() == [0, 0, 0, 0]
    assert how_much_it_counts(sound, config)[1].tolist() == [np.float32(ELSEWHERE), 1, *[np.float32(ELSEWHERE)] * 2]


def test_how_well_a_classifier_tells_what_sounds(maintainers):
    from add_audio_classifier import UNKNOWN
    from tune_hearing import told

    model = SimpleNamespace(
        model=SimpleNamespace(audio_backbone=torch.nn.Identity(), audio_classifier=torch.nn.Identity())
    )
    logits = torch.tensor([[3.0, 1.0, 9.0], [2.0, 0.0, -9.0]])
    near = torch.tensor([[0], [1]])  # each frame hears its own sound alone
    truth = torch.tensor([[1, 1, UNKNOWN], [0, 0, 1]])
    weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.3]])  # the last one is neither in view nor off screen
    # Of the four pairs of one that sounds and one that does not, the one of logits 1 and 2 is the wrong way round.
    assert told(model, [(logits, truth, weights, near)]) == (
        "of 4 possible sounds in a frame, area under the curve 0.7500, right about 75.0%"
    )
