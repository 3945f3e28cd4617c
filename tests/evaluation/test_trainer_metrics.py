import numpy as np
import pytest
import torch
from small_model import small_model
from transformers import EvalPrediction

from ccformer_hf import AudioVisualCollator, AudioVisualProcessor, CCFormerImageProcessor, compute_metrics
from ccformer_hf.data.loading import load_setting
from ccformer_hf.data.synthetic.clips import write_synthetic_set
from ccformer_hf.evaluation.evaluate import evaluate_avsbench

SIZE = 64


@pytest.mark.parametrize("setting", ["s4", "folder"])
def test_the_figures_are_those_of_an_evaluation(setting, tmp_path):
    write_synthetic_set(tmp_path / "set", setting, clips=10, seed=1, workers=1, progress=False, size=SIZE)
    clips = load_setting(setting, tmp_path / "set", "train")
    names = dict(enumerate(clips.features["labels"].names))
    model = small_model(id2label=names, num_labels=len(names), initializer_range=0.5)
    processor = AudioVisualProcessor(CCFormerImageProcessor(size={"height": SIZE, "width": SIZE}))
    batch = AudioVisualCollator(processor)(list(clips))
    labels, label_mask = batch.pop("labels"), batch.pop("label_mask")
    with torch.inference_mode():
        logits = model(**batch).logits.numpy()
    labels[~batch["frame_mask"]] = -100  # as the Trainer fills up
    prediction = EvalPrediction(predictions=logits, label_ids=(labels.numpy(), label_mask.numpy()))
    wanted = evaluate_avsbench(model, processor, clips, size=SIZE, workers=0).scores
    found = compute_metrics(prediction)
    assert found == pytest.approx({name: wanted[name] for name in found}, rel=1e-4)
    assert set(found) == {"miou", "f_score"} | ({"miou_seen", "f_score_seen"} if setting == "folder" else set())
    assert 0 < found["miou"] < 1


def test_without_an_annotated_frame_there_is_no_score():
    nothing = EvalPrediction(np.zeros((1, 2, 3, 4, 4), np.float32), np.full((1, 2, 8, 8), 255))
    with pytest.raises(ValueError, match="no frame of the evaluation is annotated; give it clips with labels"):
        compute_metrics(nothing)
