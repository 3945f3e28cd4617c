import pytest

from ccformer_hf.model.argument_names_ccformer import refuse_misspelt

KNOWN = ["fps", "image_mean", "silence_threshold"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("fsp", "fps"), ("fp", "fps"), ("imge_mean", "image_mean"), ("silense_threshold", "silence_threshold")],
)
def test_a_misspelt_name_is_refused(name, meant):
    with pytest.raises(TypeError, match=f"Part has no setting '{name}'; did you mean '{meant}'"):
        refuse_misspelt([name], KNOWN, "Part")


def test_known_names_and_those_of_others_pass():
    refuse_misspelt(["fps", "image_std_of_others", "dtype", "trust_remote_code", "device_map"], KNOWN, "Part")
