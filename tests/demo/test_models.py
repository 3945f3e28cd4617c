from types import SimpleNamespace

import httpx
import pytest
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

from ccformer_hf.demo import models as module
from ccformer_hf.demo.models import Models


class FakeHub:
    """What `_from_hub` asks the Hub; every model on it is the one in `folder`, and has `size` bytes."""

    def __init__(self, folder, size=1000):
        self.folder, self.size, self.asked = folder, size, []

    def api(self, token):
        assert token is False  # never with the login of whoever runs the demo
        return SimpleNamespace(model_info=self.model_info)

    def model_info(self, name, files_metadata, timeout):
        if name == "no/such":
            raise RepositoryNotFoundError(
                "404", response=httpx.Response(404, request=httpx.Request("GET", "http://hub"))
            )
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors", size=self.size)])

    def download(self, name, allow_patterns, token):
        assert token is False and not any(pattern.endswith("py") for pattern in allow_patterns)
        self.asked.append(name)
        return str(self.folder)


@pytest.fixture
def hub(folder, monkeypatch):
    hub = FakeHub(folder)
    monkeypatch.setattr(module, "HfApi", hub.api)
    monkeypatch.setattr(module, "snapshot_download", hub.download)
    return hub


def test_the_demos_own_checkpoint_may_be_a_folder(folder):
    models = Models(str(folder), "cpu")
    own = models.get()
    assert own is models.get(str(folder)) and own is models.get("  ")
    assert own.name == str(folder) and own.trained_on is None
    assert own.labels == {1: "bell", 2: "dog", 3: "drum"} and not own.model.training


def test_others_come_from_the_hub_and_the_last_two_stay(folder, hub):
    models = Models(str(folder), "cpu")
    own, first = models.get(), models.get("me/first")
    assert models.get("me/first") is first and first.name == "me/first" and hub.asked == ["me/first"]
    models.get("me/second")
    assert models.get() is own
    assert models.get("me/first") is not first and hub.asked == ["me/first", "me/second", "me/first"]


@pytest.mark.parametrize(
    "name", ["tests/data", "../secret", "/etc/passwd", "~/x", "a/b/c", "bert", "a/..", "a b/c", "x" * 9]
)
def test_a_folder_of_the_server_is_no_name_that_a_user_may_give(name, folder, hub, monkeypatch):
    monkeypatch.setattr(hub, "model_info", lambda *_, **__: (_ for _ in ()).throw(module.HFValidationError("no")))
    with pytest.raises(ValueError, match="expected owner/name"):
        Models(str(folder), "cpu").get(name)
    assert hub.asked == []


def test_a_model_that_is_not_there_or_too_large(folder, hub):
    models = Models(str(folder), "cpu")
    with pytest.raises(OSError, match="no/such: there is no such public model on the Hub"):
        models.get("no/such")
    hub.size = 3_000_000_000
    with pytest.raises(ValueError, match="me/large: has 3.0 GB, at most 1.5 GB"):
        models.get("me/large")
    assert hub.asked == []


def test_no_connection_is_told_in_one_line(folder, hub, monkeypatch):
    def no_connection(*_, **__):
        raise HTTPError("no route")

    monkeypatch.setattr(hub, "model_info", no_connection)
    with pytest.raises(OSError, match="me/model: cannot be fetched from the Hub"):
        Models(str(folder), "cpu").get("me/model")
