import json

import pytest
from tiny_networks import save_ast
from transformers import ASTForAudioClassification

from ccformer_hf.labelling.classes import SoundingClass
from ccformer_hf.labelling.pretrained import model_type
from ccformer_hf.labelling.tagger import load_tagger


@pytest.mark.parametrize("fault", ["missing", "pickle", "damaged", "part", "nan", "no extractor"])
def test_a_model_that_is_not_whole_is_refused(fault, tmp_path):
    folder = save_ast(tmp_path / "ast")
    weights = folder / "model.safetensors"
    told = {
        "missing": "weights cannot be loaded",
        "pickle": "weights cannot be loaded .*safetensors",
        "damaged": "weights cannot be loaded",
        "part": "its weights lack .* parts",
        "nan": "holds NaN",
        "no extractor": "its processor cannot be loaded",
    }
    if fault in ("missing", "pickle"):
        weights.unlink()
    if fault == "pickle":
        (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit'\ntR.")
    elif fault == "damaged":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "part":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    elif fault == "nan":
        model = ASTForAudioClassification.from_pretrained(folder)
        model.classifier.dense.weight.data[0, 0] = float("nan")
        model.save_pretrained(folder)
    elif fault == "no extractor":
        (folder / "preprocessor_config.json").unlink()
    with pytest.raises((OSError, ValueError), match=told[fault]):
        load_tagger(str(folder), (SoundingClass("dog", ("dog",), "dog"),), "cpu")


def test_the_kind_of_a_model_is_what_its_config_says(tmp_path):
    with pytest.raises(OSError, match=r"nothing: cannot be found .*name a folder, or a Hub id \(owner/name\)"):
        model_type(str(tmp_path / "nothing"))
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    assert model_type(str(tmp_path)) == "sam2"
    (tmp_path / "config.json").write_text('{"sizes": 3}')
    with pytest.raises(ValueError, match="does not say which kind of model it is; expected a model_type"):
        model_type(str(tmp_path))
