import json
import pickle
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Value
from PIL import Image
from processes import in_two_processes

from ccformer_hf.cli import main as cli
from ccformer_hf.data.avsbench import AVSS_CLASS_NAMES
from ccformer_hf.data.convert import convert
from ccformer_hf.data.loading import load_avsbench, load_folder
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.evaluation import evaluate as module
from ccformer_hf.evaluation.clips import ClipFeed
from ccformer_hf.evaluation.evaluate import evaluate_avsbench, even_share, match_labels, predict, process_device
from ccformer_hf.inference.loading import load
from ccformer_hf.metrics.binary import BinarySegmentation
from ccformer_hf.metrics.dataset_level import DatasetLevelSegmentation
from ccformer_hf.metrics.robust import ceiling, global_score
from ccformer_hf.metrics.semantic import SemanticSegmentation
from ccformer_hf.model.timing_ccformer import FrameTiming

SIZE = 48


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A synthetic set of each setting; 4 clips in test."""
    folder = tmp_path_factory.mktemp("sets")
    for setting in ("s4", "ms3", "avss"):
        write_synthetic_set(folder / setting, setting, 26, seed=5, workers=1, progress=False, size=32)
    return folder


@pytest.fixture(scope="module")
def sets(roots):
    return {setting: load_avsbench(setting, roots / setting, "test") for setting in ("s4", "ms3", "avss")}


def evaluate(loaded, clips, **options):
    return evaluate_avsbench(*loaded, clips, **{"size": SIZE, "workers": 0, **options})


def with_column(clips, name: str, values: list):
    return clips.remove_columns(name).add_column(name, values, feature=clips.features[name])


def by_hand(loaded, row) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(T, K, S, S)` and label maps `(T, S, S)` of a row, by nothing but processor and model."""
    model, processor = loaded
    inputs = processor(row["frames"], audio=row["sound"]["waveform"], sampling_rate=row["sound"]["sampling_rate"])
    with torch.inference_mode():
        scores = processor.post_process_scores(model(**inputs), target_sizes=[(SIZE, SIZE)])[0].numpy()
    labels = [Image.fromarray(ids).resize((SIZE, SIZE), Image.Resampling.NEAREST) for ids in row["labels"]]
    return scores, np.stack([np.asarray(ids) for ids in labels])


def test_binary_scores_are_those_computed_by_hand(loaded, sets):
    found = evaluate(loaded, sets["ms3"])
    binary, level = BinarySegmentation(), DatasetLevelSegmentation(2)
    for row, told in zip(sets["ms3"], found.per_clip, strict=True):
        scores, labels = by_hand(loaded, row)
        foreground = np.clip(1 - scores[:, 0], 0, 1)
        binary.add(foreground, labels)
        level.add(foreground > 0.5, labels)
        alone = BinarySegmentation()
        alone.add(foreground, labels)
        assert told["id"] == row["id"] and told["frames"] == 5 and told["audio"] == "waveform"
        assert (told["miou"], told["f_score"]) == (alone.compute()["miou"], alone.compute()["f_score"])
    assert found.clips == 4 and found.frames == 20 and found.classes == [] and found.robust is None
    assert found.scores == {"miou": binary.compute()["miou"], "f_score": binary.compute()["f_score"]}
    assert found.dataset_level == {name: level.compute()[name] for name in ("miou", "f_score", "j_and_f")}
    assert 0 < found.scores["miou"] < 1 and 0 < found.scores["f_score"] < 1


def test_semantic_scores_are_those_computed_by_hand_with_padding(loaded, sets):
    found = evaluate(loaded, sets["avss"])
    reference, corrected = SemanticSegmentation(71), SemanticSegmentation(71, no_background_drops="background")
    level = DatasetLevelSegmentation(71)
    ids = np.array([0, *map(AVSS_CLASS_NAMES.index, ("bell", "dog", "drum"))])
    lengths = []
    for row in sets["avss"]:
        scores, labels = by_hand(loaded, row)
        predicted = ids[scores.argmax(1)]
        level.add(predicted, labels)
        lengths.append(len(labels))
        # A padded frame is background, predicted and true.
        filling = np.zeros((10 - len(labels), SIZE, SIZE), dtype=np.uint8)
        for metric in (reference, corrected):
            metric.add(np.concatenate([predicted, filling]), np.concatenate([labels, filling]))
    assert set(lengths) == {5, 10}
    told = reference.compute()
    assert found.scores["miou"] == told["miou"] and found.scores["f_score"] == told["f_score"]
    assert found.scores["miou_no_last_class"] == told["miou_no_background"]
    assert found.scores["miou_no_background"] == corrected.compute()["miou_no_background"]
    seen = [value for value in told["miou_per_class"] if value is not None]
    assert found.scores["miou_seen"] == pytest.approx(sum(seen) / len(seen), abs=1e-12)
    assert [entry["miou"] for entry in found.classes] == told["miou_per_class"]
    assert found.classes[36]["name"] == "hen"
    assert found.dataset_level["j_and_f"] == level.compute()["j_and_f"]
    assert found.frames == sum(lengths)
    assert found.protocol["padded_to_frames"] == 10 and found.protocol["options"]["padded_frames"] == "count"


def test_padding_counts_for_the_background_alone(loaded, sets):
    """What a short clip would score without it differs in class 0 and nowhere else."""
    short = sets["avss"].select([i for i, frames in enumerate(sets["avss"]["annotated"]) if len(frames) == 5][:1])
    found = evaluate(loaded, short)
    plain = SemanticSegmentation(71)
    scores, labels = by_hand(loaded, short[0])
    plain.add(np.array([0, *map(AVSS_CLASS_NAMES.index, ("bell", "dog", "drum"))])[scores.argmax(1)], labels)
    told = plain.compute()["miou_per_class"]
    assert [entry["miou"] for entry in found.classes[1:]] == told[1:]
    assert found.classes[0]["miou"] == pytest.approx((told[0] + 1) / 2, abs=1e-12)


def test_only_annotated_frames_count(loaded, roots):
    found = evaluate(loaded, load_avsbench("s4", roots / "s4", "train"))
    assert found.clips == 18 and found.frames == 18


@pytest.mark.parametrize("setting", ["s4", "avss"])
def test_the_batch_size_changes_nothing(loaded, sets, setting):
    """Up to the last bits of the model's own sums; the avss clips have 5 and 10 frames."""
    alone, together = (evaluate(loaded, sets[setting], batch_size=size, robust=True) for size in (1, 3))
    assert together.fingerprint == alone.fingerprint
    for name, value in alone.scores.items():
        assert together.scores[name] == pytest.approx(value, abs=2e-4), name
    for name in ("g_miou", "g_f_score", "g_fpr"):
        assert together.robust[name] == pytest.approx(alone.robust[name], abs=2e-4), name


def test_order_and_workers_change_nothing(loaded, sets):
    one = evaluate(loaded, sets["s4"], robust=True)
    other = evaluate(loaded, sets["s4"].shuffle(seed=3), robust=True, workers=2)
    assert [row["id"] for row in one.per_clip] != [row["id"] for row in other.per_clip]
    assert [row["number"] for row in other.per_clip] == [0, 1, 2, 3]
    assert (one.scores, one.dataset_level, one.robust) == (other.scores, other.dataset_level, other.robust)
    assert one.fingerprint == other.fingerprint
    dropped = [{key: value for key, value in row.items() if key != "number"} for row in other.per_clip]
    for row in one.per_clip:
        assert {key: value for key, value in row.items() if key != "number"} in dropped


def test_the_fingerprint_changes_with_the_content(loaded, roots, sets):
    whole = evaluate(loaded, sets["ms3"]).fingerprint
    assert evaluate(loaded, sets["ms3"].select(range(3))).fingerprint != whole
    assert evaluate(loaded, with_column(sets["ms3"], "id", ["a", "b", "c", "d"])).fingerprint != whole


@pytest.mark.parametrize("setting", ["s4", "avss"])
def test_the_form_of_storage_changes_nothing(loaded, roots, sets, setting, tmp_path):
    convert(roots / setting, tmp_path / "shards", workers=1, progress=False)
    shards = evaluate(loaded, load_avsbench(setting, tmp_path / "shards", "test"))
    folders = evaluate(loaded, sets[setting])
    for name in ("fingerprint", "scores", "per_clip", "split", "protocol"):
        assert getattr(shards, name) == getattr(folders, name), name


def test_even_shares_by_hand():
    assert [even_share(3, process, 2) for process in (0, 1)] == [([0, 2], 2), ([1, 0], 1)]
    assert [even_share(2, process, 3) for process in (0, 1, 2)] == [([0], 1), ([1], 1), ([0], 0)]
    assert even_share(4, 0, 1) == ([0, 1, 2, 3], 4)


@pytest.mark.parametrize("process", [0, 1])
def test_all_processes_run_the_model_equally_often(loaded, sets, monkeypatch, process):
    class State:
        process_index, num_processes, is_main_process = process, 2, True

    calls = []
    model = loaded[0]
    monkeypatch.setattr("ccformer_hf.evaluation.evaluate.PartialState", lambda cpu: State)
    monkeypatch.setattr("ccformer_hf.evaluation.evaluate.gather_object", lambda found: found)
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    found = evaluate(loaded, sets["ms3"].select(range(3)))
    handle.remove()
    assert len(calls) == 2
    assert [row["number"] for row in found.per_clip] == [[0, 2], [1]][process]


def command(arguments: list[str]) -> int:
    return cli.main(arguments)


def test_two_processes_find_what_one_does(loaded, folder, sets, roots, tmp_path):
    output = tmp_path / "two.json"
    arguments = ["--data", str(roots / "ms3"), "--setting", "ms3", "--robust", "--device", "cpu"]
    arguments = ["evaluate", str(folder), *arguments, "--output", str(output)]
    printed = in_two_processes(command, arguments, folder=tmp_path)
    assert printed.count("AVSBench protocol, 224 x 224") == 1
    assert (tmp_path / "1.txt").read_text().count("AVSBench protocol") == 0  # only the main process reports
    two = json.loads(output.read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = evaluate(loaded, sets["ms3"], size=224, robust=True)
    torch.set_num_threads(threads)
    assert (one.processes, two["processes"]) == (1, 2)
    assert two["data"]["fingerprint"] == one.fingerprint and two["data"]["sounds"] == one.sounds
    for name in ("scores", "dataset_level", "robust", "per_clip", "protocol", "clips", "frames"):
        assert two[name] == getattr(one, name), name


def test_group_size_gives_the_figure_of_code_that_tests_in_batches(loaded, sets):
    found = evaluate(loaded, sets["ms3"], group_size=3)
    grouped = BinarySegmentation(group_size=3)
    for number, row in enumerate(sets["ms3"]):
        scores, labels = by_hand(loaded, row)
        grouped.add(np.clip(1 - scores[:, 0], 0, 1), labels, clip=number)
    assert found.scores["f_score"] == grouped.compute()["f_score"]
    single = evaluate(loaded, sets["ms3"])
    assert found.scores["f_score"] < single.scores["f_score"]
    assert [row["f_score"] for row in found.per_clip] == [row["f_score"] for row in single.per_clip]


# ---- sound
# ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def official_log_mel(roots, tmp_path, loaded):
    """The ms3 set with three log-mel examples per clip, by AVSBench's rule, instead of sound."""
    root = tmp_path / "log-mel"
    subprocess.run(["cp", "-r", str(roots / "ms3"), str(root)], check=True)
    data = root / "Multi-sources" / "ms3_data"
    examples = {}
    for path in sorted((data / "audio_wav" / "test").iterdir()):
        tensor = torch.randn(3, 1, 96, 64, generator=torch.Generator().manual_seed(len(examples)))
        target = data / "audio_log_mel" / "test" / f"{path.stem}.pkl"
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            pickle.dump(tensor, file)
        examples[path.stem] = tensor
        path.unlink()
    return load_avsbench("ms3", root, "test"), examples


def test_clips_with_log_mel_only_are_heard(loaded, official_log_mel):
    clips, examples = official_log_mel
    (batch,) = ClipFeed(clips, SIZE).batches(loaded[1], range(4), batch_size=4)
    for i, row in enumerate(clips.select_columns("id")):
        features, wanted = batch.audio["original"]["input_features"][i], examples[row["id"]]
        assert torch.equal(features, torch.cat([wanted, wanted[-1:], wanted[-1:]]))  # too few: the last one again
    assert batch.audio["original"]["audio_mask"].all()
    found = evaluate(loaded, clips, robust=True)
    assert found.sounds == {"log_mel": 4}
    assert found.robust["sounds"]["original"] != found.robust["sounds"]["silence"]


def test_too_few_examples_of_avss_are_filled_up_with_zeros(loaded, sets, official_log_mel):
    paths = official_log_mel[0].cast_column("log_mel", Value("string"))["log_mel"][:]
    clips = with_column(with_column(sets["avss"], "sound", [None] * 4), "log_mel", paths)
    for batch in ClipFeed(clips, SIZE).batches(loaded[1], range(4)):
        features = batch.audio["original"]["input_features"][0]
        assert features[:3].any((1, 2, 3)).all() and not features[3:].any()
        assert batch.audio["original"]["audio_mask"].all()


def test_a_clip_without_sound_is_scored(loaded, sets):
    found = evaluate(loaded, with_column(sets["ms3"], "sound", [None] * 4))
    assert found.sounds == {"none": 4} and found.clips == 4


def test_robust_makes_its_sounds_with_the_front_end_of_the_clips(loaded, sets):
    feed = ClipFeed(sets["s4"], SIZE, robust=True)
    (batch,) = feed.batches(loaded[1], range(4), batch_size=4)
    assert list(batch.audio) == ["original", "silence", "noise", "off-screen"]
    assert not batch.audio["silence"]["audio_mask"].any() and batch.audio["noise"]["audio_mask"].all()
    for i, choice in enumerate(feed.off_screen):
        sound = sets["s4"][choice.index]["sound"]
        wanted = loaded[1].feature_extractor(
            sound["waveform"], sound["sampling_rate"], timestamps=FrameTiming().frame_times(5), return_tensors="pt"
        )
        assert choice.index != i
        assert torch.equal(batch.audio["off-screen"]["input_features"][i], wanted["input_features"][0])


def test_robust_figures(loaded, sets):
    found = evaluate(loaded, sets["s4"], robust=True)
    plain = evaluate(loaded, sets["s4"])
    sounds = found.robust["sounds"]
    assert found.scores == plain.scores and sounds["original"]["miou"] == plain.scores["miou"]
    mean = {
        name: sum(sounds[sound][name] for sound in ("silence", "noise", "off-screen")) / 3 for name in sounds["noise"]
    }
    assert found.robust["g_miou"] == pytest.approx(global_score(plain.scores["miou"], mean["miou"]))
    assert found.robust["g_f_score"] == pytest.approx(global_score(plain.scores["f_score"], mean["f_score"]))
    assert found.robust["g_fpr"] == pytest.approx(mean["fpr"])
    assert sum(found.robust["off_screen_rules"].values()) == 4
    ids = {row["id"] for row in found.per_clip}
    assert all(row["off_screen_from"] in ids - {row["id"]} for row in found.per_clip)
    for row in found.per_clip:
        assert set(row["sounds"]) == set(sounds) and row["sounds"]["original"]["miou"] == row["miou"]


def test_the_ceiling_is_g_of_the_label_maps_themselves(loaded, sets):
    found = evaluate(loaded, sets["s4"], robust=True)
    truth, empty = BinarySegmentation(), BinarySegmentation()
    for number, row in enumerate(sets["s4"]):
        labels = by_hand(loaded, row)[1]
        truth.add(labels.astype(np.float32), labels, clip=number)
        empty.add(np.zeros(labels.shape, np.float32), labels, clip=number)
    assert found.robust["ceiling"] == ceiling(truth.compute(), empty.compute())
    assert found.robust["seen"] is None and 0.5 < found.robust["ceiling"]["g_miou"] <= 1


def test_g_over_the_classes_seen(loaded, sets):
    """Of 71 classes, those that the label maps hold: what a perfect model gets does not shrink with the others."""
    robust = evaluate(loaded, sets["avss"], robust=True).robust
    held = {number for row in sets["avss"] for number in np.unique(by_hand(loaded, row)[1]).tolist()}
    seen = robust["seen"]
    assert seen["classes"] == len(held) < 20
    assert robust["ceiling"]["g_miou"] < 0.5 < 0.9 < seen["ceiling"]["g_miou"] <= 1
    assert robust["g_miou"] < seen["g_miou"] < seen["ceiling"]["g_miou"]
    assert robust["classes_told_by"] == "the official table"


def test_ms3_is_joined_with_the_table_of_avss(loaded, roots, sets, tmp_path):
    with pytest.warns(UserWarning, match="any other clip, also of the same class: .*metadata.csv"):
        alone = evaluate(loaded, sets["ms3"], robust=True)
    assert alone.robust["off_screen_rules"] == {"any other clip": 4} and alone.robust["classes_told_by"] == "unknown"
    shutil.copytree(roots / "ms3", tmp_path / "both")
    classes = dict(zip(sets["ms3"]["id"], ["dog_cat", "dog", "car", "dog_off-the-screen"], strict=True))
    rows = [",".join((name, name, "0", "0", sounding, "test", "v1m")) for name, sounding in classes.items()]
    (tmp_path / "both" / "metadata.csv").write_text("\n".join(["vid,uid,s_min,s_sec,a_obj,split,label", *rows]))
    clips = load_avsbench("ms3", tmp_path / "both", "test")
    assert clips["classes"][:] == [["dog", "cat"], ["dog"], ["car"], ["dog"]]
    joined = evaluate(loaded, clips, robust=True)
    assert joined.robust["off_screen_rules"] == {"other broad class": 4}
    assert joined.robust["classes_told_by"] == "the official table" and joined.scores == alone.scores
    for row in joined.per_clip:
        assert ("dog" in classes[row["id"]]) != ("dog" in classes[row["off_screen_from"]])


def test_clips_of_ones_own_get_sounds_of_other_classes(loaded, tmp_path):
    write_synthetic_set(tmp_path / "folder", "folder", 8, seed=1, workers=1, progress=False, size=32)
    clips = load_folder(tmp_path / "folder", "train")
    names = clips.features["labels"].names
    feed = ClipFeed(clips, SIZE, robust=True)
    classes = [{names[number] for number in np.unique(row["labels"])} - {"background"} for row in clips]
    assert feed.classes_told_by == "the label maps" and any(
        choice.rule != "any other clip" for choice in feed.off_screen
    )
    for own, choice in zip(classes, feed.off_screen, strict=True):
        assert choice.rule == "any other clip" or own.isdisjoint(classes[choice.index])


@pytest.mark.filterwarnings("ignore:off-screen sound is that of any other clip")
def test_fpr_is_the_share_of_pixels_marked(loaded, sets, monkeypatch):
    model, processor = loaded
    feed = ClipFeed(sets["ms3"], SIZE, robust=True)
    marked = [
        (1 - probabilities[:, 0] > 0.5).float().mean().item()
        for batch in feed.batches(processor, range(4))
        for probabilities in predict(model, processor, batch, "noise", SIZE)
    ]
    found = evaluate(loaded, sets["ms3"], robust=True)
    assert found.robust["sounds"]["noise"]["fpr"] == pytest.approx(sum(marked) / 4, abs=1e-6)
    assert found.robust["off_screen_rules"] == {"any other clip": 4}


def test_the_built_in_checkpoint_marks_nothing_in_silence(sets):
    found = evaluate_avsbench(*load("ccformer-tiny", "cpu"), sets["avss"].select(range(2)), workers=0, robust=True)
    silence = found.robust["sounds"]["silence"]
    assert silence["fpr"] == 0 < found.robust["sounds"]["original"]["fpr"]
    assert silence["miou"] < 2 / 71  # the background at most


# ---- clips of one's own
# -----------------------------------------------------------------------------------------------------


def write_clip_folder(root: Path, classes: str, ids: list[int]) -> Path:
    """One clip of three frames; the second has no label map."""
    clip = root / "test" / "one"
    for name in ("frames", "masks"):
        (clip / name).mkdir(parents=True)
    (root / "classes.txt").write_text(classes)
    for number in range(3):
        Image.fromarray(np.full((40, 40, 3), 80 * number, dtype=np.uint8)).save(clip / "frames" / f"{number}.png")
        labels = np.zeros((40, 40), dtype=np.uint8)
        labels[:20] = ids[number]
        if number != 1:
            Image.fromarray(labels).save(clip / "masks" / f"{number}.png")
    return root


def test_own_clips_of_one_class_need_no_names(loaded, tmp_path):
    found = evaluate(loaded, load_folder(write_clip_folder(tmp_path, "kettle\n", [1, 1, 0]), "test"))
    assert found.setting == "folder" and found.frames == 2 and found.protocol["metric"] == "avs_binary"
    assert found.sounds == {"none": 1}


def test_own_clips_of_several_classes(loaded, tmp_path):
    found = evaluate(loaded, load_folder(write_clip_folder(tmp_path, "drum\ndog\nbell\ncat\n", [2, 1, 255]), "test"))
    assert [entry["name"] for entry in found.classes] == ["background", "drum", "dog", "bell", "cat"]
    assert found.protocol["options"]["ignore_label"] == 255 and found.protocol["padded_to_frames"] is None
    assert found.classes[4]["miou"] is None and found.frames == 2


def test_pixels_to_ignore_are_refused_where_the_protocol_has_none(loaded, tmp_path):
    clips = load_folder(write_clip_folder(tmp_path, "kettle\n", [1, 1, 255]), "test")
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"^clip one: its label maps hold pixels to ignore \(255\).*leave out"):
            evaluate(loaded, clips, workers=workers)


# ---- what cannot be
# -----------------------------------------------------------------------------------------------------------


def test_labels_are_matched_by_name():
    assert match_labels(
        {0: "LABEL_0", 1: "dog", 2: "cat"}, ("background", "cat", "dog", "hen"), "folder"
    ).tolist() == [
        0,
        2,
        1,
    ]
    with pytest.raises(
        ValueError, match="label 'LABEL_1' .one of 2 such. is not a class of avss.*accordion, airplane, axe"
    ):
        match_labels({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2", 3: "dog"}, AVSS_CLASS_NAMES, "avss")


def test_a_model_with_other_labels_scores_binary_sets_only(loaded, sets):
    model, processor = loaded
    kept = model.config.id2label
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2", 3: "LABEL_3"}
    try:
        assert evaluate((model, processor), sets["ms3"]).clips == 4
        with pytest.raises(ValueError, match="not a class of avss"):
            evaluate((model, processor), sets["avss"])
    finally:
        model.config.id2label = kept


def test_groups_of_several_classes_are_refused(loaded, sets):
    with pytest.raises(ValueError, match="group_size is 2, but avss has several classes.*leave it at 1"):
        evaluate(loaded, sets["avss"], group_size=2)


def test_a_set_without_annotated_frames_is_refused(loaded, sets):
    blank = with_column(sets["ms3"], "annotated", [[False] * 5] * 4)
    with pytest.raises(ValueError, match="no clip of the split has an annotated frame"):
        evaluate(loaded, blank)


def test_an_unreadable_frame_names_its_clip(loaded, roots, tmp_path):
    root = tmp_path / "broken"
    subprocess.run(["cp", "-r", str(roots / "ms3"), str(root)], check=True)
    clips = load_avsbench("ms3", root, "test")
    frames = root / "Multi-sources" / "ms3_data" / "visual_frames" / clips[2]["id"]
    next(frames.iterdir()).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"^clip {clips['id'][2]}: ") as caught:
        evaluate(loaded, clips, workers=1)
    assert "Traceback" not in str(caught.value)


def test_the_device_of_a_process(monkeypatch):
    asked = []

    def state(cpu: bool = False) -> SimpleNamespace:
        asked.append(cpu)
        return SimpleNamespace(device="cuda:3")

    monkeypatch.setattr(module, "PartialState", state)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    given = ("auto", "cuda", "cuda:1", "cpu")
    assert [process_device(name) for name in given] == ["cuda:3", "cuda:3", "cuda:1", "cpu"]
    assert asked == [False, False, False, True]
