import pytest

from ccformer_hf.model.argument_names_ccformer import refuse_misspelt, unknown_names

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


def test_unknown_names_are_listed_with_what_was_probably_meant():
    assert unknown_names(["fps", "image_mean"], KNOWN) == ""
    assert (
        unknown_names(["fps", "colour", "image_maen"], KNOWN) == "'colour', 'image_maen' (did you mean 'image_mean'?)"
    )
