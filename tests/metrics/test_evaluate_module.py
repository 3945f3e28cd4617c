import json

import numpy as np
import pytest
from processes import finish, start
from test_binary import random_clips
from test_semantic import random_clips as random_label_clips

from ccformer_hf.metrics import METRICS, load_metric
from ccformer_hf.metrics.binary import BinarySegmentation
from ccformer_hf.metrics.dataset_level import DatasetLevelSegmentation
from ccformer_hf.metrics.semantic import SemanticSegmentation

pytest.importorskip("evaluate")


def one_of_two(cache, path, rank):
    clips = np.load(path)
    metric = load_metric(
        "avs_binary", group_size=3, cache_dir=cache, num_process=2, process_id=rank, experiment_id="two", timeout=120
    )
    numbers = np.arange(rank, len(clips["scores"]), 2)
    metric.add_batch(predictions=clips["scores"][numbers], references=clips["target"][numbers], clip=numbers)
    print(json.dumps(metric.compute()))


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return {"cache_dir": str(tmp_path / "cache")}


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match="no metric 'miou', only avs_binary, avs_semantic, avs_dataset"):
        load_metric("miou")


@pytest.mark.parametrize("size", [1, 2, 8])
def test_binary_in_batches_of_any_size(offline, size):
    clips, plain = random_clips(11), BinarySegmentation(group_size=3)
    for clip in clips:
        plain.add(*clip)
    metric = load_metric("avs_binary", group_size=3, **offline)
    for first in range(0, 11, size):
        scores, target = zip(*clips[first : first + size], strict=True)
        metric.add_batch(predictions=np.stack(scores), references=list(target))
    assert metric.compute() == plain.compute()


@pytest.mark.parametrize(
    ("name", "plain"),
    [("avs_semantic", SemanticSegmentation), ("avs_dataset", DatasetLevelSegmentation)],
)
def test_label_maps(offline, name, plain):
    clips, wanted, mask = random_label_clips(4), plain(6), np.array([True, True, False])
    for clip in clips:
        wanted.add(*clip, frame_mask=mask)
    metric = load_metric(name, num_labels=6, **offline)
    metric.add(predictions=clips[0][0], references=clips[0][1], frame_mask=mask)
    predicted, target = (np.stack(maps) for maps in zip(*clips[1:], strict=True))
    assert (
        metric.compute(predictions=predicted, references=target, frame_mask=np.stack([mask] * 3)) == wanted.compute()
    )


def test_each_compute_starts_anew(offline):
    (scores, target), metric = random_clips(1)[0], load_metric("avs_binary", **offline)
    first = metric.compute(predictions=[scores], references=[target])
    assert metric.compute(predictions=[scores], references=[target]) == first
    with pytest.raises(ValueError, match="no clip was added"):
        metric.compute()


def test_bad_input(offline):
    metric = load_metric("avs_binary", **offline)
    scores, target = random_clips(1)[0]
    with pytest.raises(ValueError, match="'predictions': 2, 'references': 1"):
        metric.add_batch(predictions=[scores, scores], references=[target])
    with pytest.raises(ValueError, match="sigmoid"):
        metric.add(predictions=scores * 9, references=target)
    with pytest.raises(ValueError, match="pass both"):
        metric.compute(predictions=[scores])
    with pytest.raises(ValueError, match="group_size is 0"):
        load_metric("avs_binary", group_size=0, **offline)
    with pytest.raises(TypeError, match="groupsize"):
        load_metric("avs_binary", groupsize=8, **offline)


def test_every_module_says_what_it_wants(offline):
    for name in METRICS:
        metric = load_metric(name, **offline, **({} if name == "avs_binary" else {"num_labels": 71}))
        assert metric.description and "frame_mask" in metric.inputs_description
        assert list(metric.features) == ["state"]


def test_two_processes(tmp_path, offline):
    clips, plain = random_clips(11), BinarySegmentation(group_size=3)
    for clip in clips:
        plain.add(*clip)
    scores, target = (np.stack(maps) for maps in zip(*clips, strict=True))
    np.savez(tmp_path / "clips.npz", scores=scores, target=target)
    outputs = [tmp_path / f"{rank}.txt" for rank in range(2)]
    processes = [
        start(one_of_two, offline["cache_dir"], tmp_path / "clips.npz", rank, output=output)
        for rank, output in enumerate(outputs)
    ]
    printed = [finish(process, output).splitlines()[-1] for process, output in zip(processes, outputs, strict=True)]
    assert json.loads(printed[0]) == plain.compute()  # to the last bit: JSON keeps floats whole
    assert json.loads(printed[1]) is None
