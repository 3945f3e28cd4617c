import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

from ccformer_hf.demo import models as module
from ccformer_hf.demo.models import Models


class FakeHub:
    """What `_from_hub` asks the Hub; every model on it is the one in `folder`, and has `size` bytes."""

    def __init__(self, folder, size=1000):
        self.folder, self.size, self.asked, self.places = folder, size, [], []
        self.before_it_comes = lambda: None

    def api(self, token):
        assert token is False  # never with the login of whoever runs the demo
        return SimpleNamespace(model_info=self.model_info)

    def model_info(self, name, files_metadata, timeout):
        if name == "no/such":
            raise RepositoryNotFoundError(
                "404", response=httpx.Response(404, request=httpx.Request("GET", "http://hub"))
            )
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors", size=self.size)])

    def download(self, name, local_dir, allow_patterns, token):
        assert token is False and not any(pattern.endswith(("py", "*", "bin")) for pattern in allow_patterns)
        self.asked.append(name)
        self.places.append(local_dir)
        self.before_it_comes()
        shutil.copytree(self.folder, local_dir, dirs_exist_ok=True)
        return str(local_dir)


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


def test_others_come_from_the_hub_and_the_last_ones_stay(folder, hub, monkeypatch):
    monkeypatch.setattr(module, "MOST_MODELS", 2)
    models = Models(str(folder), "cpu")
    own, first = models.get(), models.fetch("me/first")
    assert models.get("me/first") is models.fetch(" me/first ") is first and first.name == "me/first"
    assert hub.asked == ["me/first"] and models.fetch("") is own
    models.fetch("me/second")
    assert models.get() is own
    with pytest.raises(ValueError, match="me/first: is not loaded here, or no longer; load it as another checkpoint"):
        models.get("me/first")
    assert hub.asked == ["me/first", "me/second"]
    assert [place.exists() for place in hub.places] == [False, False]  # they need not be on the disk


def test_while_a_checkpoint_comes_in_the_others_answer(folder, hub):
    models = Models(str(folder), "cpu")
    own, comes, may_come = models.get(), threading.Event(), threading.Event()
    hub.before_it_comes = lambda: comes.set() or may_come.wait(60)
    with ThreadPoolExecutor() as visitor:
        fetched = visitor.submit(models.fetch, "me/slow")
        assert comes.wait(60)
        assert models.get() is own and not fetched.done()
        may_come.set()
        assert fetched.result() is models.get("me/slow")


def test_a_network_that_takes_too_much_for_a_frame(folder, hub, monkeypatch):
    models = Models(str(folder), "cpu")
    monkeypatch.setattr(module, "MOST_BYTES_PER_FRAME", 10_000)
    with pytest.raises(ValueError, match="me/wide: takes 0 GFLOPs and 0 MB at a time for a frame, at most 250 GFLOPs"):
        models.fetch("me/wide")
    monkeypatch.undo()


def test_an_error_names_no_folder_of_the_server(tmp_path, folder, hub):
    hub.folder = shutil.copytree(folder, tmp_path / "broken")
    (hub.folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError) as error:
        Models(str(folder), "cpu").fetch("me/broken")
    assert str(error.value).startswith("me/broken/config.json: is of a model of type 'bert'")
    assert tempfile.gettempdir() not in str(error.value) and not hub.places[0].exists()


@pytest.mark.parametrize(
    "name", ["tests/data", "../secret", "/etc/passwd", "~/x", "a/b/c", "bert", "a/..", "a b/c", "x" * 9]
)
def test_a_folder_of_the_server_is_no_name_that_a_user_may_give(name, folder, hub, monkeypatch):
    monkeypatch.setattr(hub, "model_info", lambda *_, **__: (_ for _ in ()).throw(module.HFValidationError("no")))
    with pytest.raises(ValueError, match="expected owner/name"):
        Models(str(folder), "cpu").fetch(name)
    assert hub.asked == []


def test_a_model_that_is_not_there_or_too_large(folder, hub):
    models = Models(str(folder), "cpu")
    with pytest.raises(OSError, match="no/such: there is no such public model on the Hub"):
        models.fetch("no/such")
    hub.size = 3_000_000_000
    with pytest.raises(ValueError, match="me/large: has 3.0 GB, at most 1.5 GB"):
        models.fetch("me/large")
    assert hub.asked == []


def test_no_connection_is_told_in_one_line(folder, hub, monkeypatch):
    def no_connection(*_, **__):
        raise HTTPError("no route")

    monkeypatch.setattr(hub, "model_info", no_connection)
    with pytest.raises(OSError, match="me/model: cannot be fetched from the Hub"):
        Models(str(folder), "cpu").fetch("me/model")
