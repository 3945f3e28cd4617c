"""A few cases of what `python -m tests.robustness` tries by the thousand, in the tests' own process."""

import json

import numpy as np
import pytest
from robustness import samples, trials
from robustness.mutations import copy_mutated, mutated_bytes, mutated_json

# Memory and time are for processes of their own: this one has done other work before.
FAULTS = {"traceback", "left-over", "wrong length"}
CASES = {"media": 3, "models": 12, "data": 5, "states": 1}


@pytest.mark.parametrize("kind", CASES)
def test_what_is_mutated_is_answered_or_refused_in_one_line(kind, tmp_path, monkeypatch):
    sources = samples.MAKERS[kind](tmp_path / "samples")
    monkeypatch.setenv(trials.SAMPLES, str(tmp_path / "samples"))
    trial = trials.TRIALS[kind][0]  # of media the one that reads in a child process
    for source in sources[:1]:
        assert trials.outcome_of(trial, source, tmp_path / f"whole-{source.name}").text == ""
    kinds = set()
    for number in range(CASES[kind]):
        rng, place = np.random.default_rng([1, number]), tmp_path / f"case-{number}"
        how = copy_mutated(sources[number % len(sources)], place / "given", rng)
        outcome = trials.outcome_of(trial, place / "given", place / "work")
        assert not FAULTS & set(outcome.faults()), f"{how}\n{outcome.text}\n{outcome.leftovers}"
        kinds.add(outcome.kind)
    assert kinds <= {"answered", "refused"}


def test_a_seed_makes_the_same_cases_and_others_others(tmp_path):
    content = bytes(range(256)) * 20
    same = {mutated_bytes(content, np.random.default_rng(1)) for _ in range(3)}
    others = {mutated_bytes(content, np.random.default_rng(seed))[0] for seed in range(50)}
    assert len(same) == 1 and len(others) > 40 and content not in others
    value = {"a": [1, {"b": 2}], "c": "d"}
    for seed in range(100):
        changed, how = mutated_json(json.loads(json.dumps(value)), np.random.default_rng(seed))
        assert json.dumps(changed) != json.dumps(value) or how.startswith(("/a/0 is 1", "/a/0 is True"))


def test_each_fault_is_counted():
    outcome = trials.Outcome("answered", seconds=21, megabytes=1001, leftovers=("x",), long=True)
    assert outcome.faults() == ["hang", "over 1 GB", "left-over", "wrong length"]
    assert trials.Outcome("traceback").faults() == ["traceback"] and trials.Outcome("refused").faults() == []
    assert trials.Outcome("crashed").faults() == ["crash"] and trials.Outcome("hang").faults() == ["hang"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("PLACE: is damaged; copy it again"), "refused"),
        (OSError("it is damaged"), "traceback"),  # what is?
        (ValueError("PLACE: is\ndamaged"), "traceback"),
        (LookupError("PLACE"), "traceback"),
    ],
)
def test_a_refusal_is_one_line_that_names_the_file(tmp_path, error, kind):
    (tmp_path / "given").mkdir()
    error.args = (str(error.args[0]).replace("PLACE", str(tmp_path / "given")),)

    def trial(folder, work):
        (work / "out").mkdir()
        raise error

    outcome = trials.outcome_of(trial, tmp_path / "given", tmp_path / "work")
    assert outcome.kind == kind and outcome.leftovers == ("out",)
