"""The checkpoint inside the package: whole, small, and its card says what its own record says."""

import json
from pathlib import Path

from ccformer_hf import load
from ccformer_hf.data.made_up import CLASS_NAMES
from ccformer_hf.inference import BUILT_IN_MODEL, CHECKPOINTS

FOLDER = CHECKPOINTS / BUILT_IN_MODEL
ROOT = Path(__file__).parents[1]


def test_it_is_whole_and_at_most_12_mb():
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "README.md", "checkpoint.json", "config.json", "model.safetensors", "processor_config.json",
    ]  # fmt: skip
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12e6


def test_it_knows_the_made_up_classes():
    model, processor = load(device="cpu")
    assert tuple(model.config.id2label.values()) == CLASS_NAMES
    assert processor.image_processor.size["height"] % 32 == 0


def test_the_card_states_what_was_measured():
    card = (ROOT / "MODEL_CARD.md").read_text()
    assert card == (FOLDER / "README.md").read_text()
    about = json.loads((FOLDER / "checkpoint.json").read_text())
    assert about["trained_on"] in card
    scores = {name: value for name, value in about["evaluation"].items() if name not in ("clips", "seed")}
    assert len(scores) == 5
    assert all(f"| {value:.4f} |" in card for value in scores.values())
    assert scores["binary_miou"] >= 0.85 and scores["class_miou"] >= 0.70
    assert scores["silence_marked"] < 0.01
    assert scores["swap_iou_new"] >= 0.7 and scores["swap_iou_old"] <= 0.1
