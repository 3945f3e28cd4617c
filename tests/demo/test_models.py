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


def fetched(models, name):
    """The checkpoint at the end of `fetch`."""
    *shares, model = models.fetch(name)
    assert shares == sorted(shares) and all(0 < share <= 1 for share in shares)
    return model


class FakeHub:
    """What `_from_hub` asks the Hub; every model on it is the one in `folder`, and is larger by `more` bytes."""

    def __init__(self, folder):
        self.folder, self.more, self.asked, self.places = folder, 0, [], set()
        self.before_it_comes = lambda: None

    def api(self, token):
        assert token is False  # never with the login of whoever runs the demo
        return SimpleNamespace(model_info=self.model_info)

    def model_info(self, name, files_metadata, timeout):
        if name == "no/such":
            raise RepositoryNotFoundError(
                "404", response=httpx.Response(404, request=httpx.Request("GET", "http://hub"))
            )
        files = [SimpleNamespace(rfilename=path.name, size=path.stat().st_size) for path in self.folder.iterdir()]
        files += [SimpleNamespace(rfilename=file, size=9) for file in ("a.py", "model.bin", "model/x.safetensors")]
        next(file for file in files if file.rfilename == "model.safetensors").size += self.more
        return SimpleNamespace(siblings=files, sha="0a1b")

    def fetch(self, address, path, timeout):
        owner, name, _, commit, file = address.rsplit("/", 4)
        assert commit == "0a1b" and path.suffix in (".json", ".safetensors")
        self.asked.append(f"{owner.rsplit('/', 1)[1]}/{name}")
        self.places.add(path.parent)
        self.before_it_comes()
        content = (self.folder / file).read_bytes()
        for end in (len(content) // 2, len(content)):
            path.write_bytes(content[:end])
            if end:  # of an empty file no piece comes
                yield end, len(content)


@pytest.fixture
def hub(folder, monkeypatch):
    hub = FakeHub(folder)
    monkeypatch.setattr(module, "HfApi", hub.api)
    monkeypatch.setattr(module, "fetch", hub.fetch)
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
    own, first = models.get(), fetched(models, "me/first")
    assert models.get("me/first") is fetched(models, " me/first ") is first and first.name == "me/first"
    assert set(hub.asked) == {"me/first"} and fetched(models, "") is own
    fetched(models, "me/second")
    assert models.get() is own
    with pytest.raises(ValueError, match="me/first: is not loaded here, or no longer; load it as another checkpoint"):
        models.get("me/first")
    assert set(hub.asked) == {"me/first", "me/second"}
    assert [place.exists() for place in hub.places] == [False, False]  # they need not be on the disk


def test_a_download_is_stopped_in_between_and_leaves_nothing(folder, hub):
    models = Models(str(folder), "cpu")
    steps = models.fetch("me/slow")
    assert 0 < next(steps) < 1
    (place,) = hub.places
    assert any(place.iterdir())
    steps.close()
    assert not place.exists() and len(hub.asked) == 1
    with pytest.raises(ValueError, match="me/slow: is not loaded here"):
        models.get("me/slow")


def test_a_file_that_is_larger_than_announced_is_not_fetched_to_its_end(folder, hub):
    hub.more = -100
    with pytest.raises(OSError, match="^me/larger: cannot be fetched from the Hub"):
        fetched(Models(str(folder), "cpu"), "me/larger")


def test_a_repository_of_empty_files(tmp_path, folder, hub):
    hub.folder = tmp_path / "empty"
    hub.folder.mkdir()
    for name in ("config.json", "processor_config.json", "model.safetensors"):
        (hub.folder / name).touch()
    with pytest.raises(OSError, match="^me/empty/model.safetensors: is not a whole safetensors file"):
        fetched(Models(str(folder), "cpu"), "me/empty")


def test_while_a_checkpoint_comes_in_the_others_answer(folder, hub):
    models = Models(str(folder), "cpu")
    own, comes, may_come = models.get(), threading.Event(), threading.Event()
    hub.before_it_comes = lambda: comes.set() or may_come.wait(60)
    with ThreadPoolExecutor() as visitor:
        comes_in = visitor.submit(fetched, models, "me/slow")
        assert comes.wait(60)
        assert models.get() is own and not comes_in.done()
        may_come.set()
        assert comes_in.result() is models.get("me/slow")


def test_a_network_that_takes_too_much_for_a_frame(folder, hub, monkeypatch):
    models = Models(str(folder), "cpu")
    monkeypatch.setattr(module, "MOST_BYTES_PER_FRAME", 10_000)
    with pytest.raises(ValueError, match="me/wide: takes 0 GFLOPs and 0 MB at a time for a frame, at most 250 GFLOPs"):
        fetched(models, "me/wide")
    monkeypatch.undo()


def test_an_error_names_no_folder_of_the_server(tmp_path, folder, hub):
    hub.folder = shutil.copytree(folder, tmp_path / "broken")
    (hub.folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError) as error:
        fetched(Models(str(folder), "cpu"), "me/broken")
    assert str(error.value).startswith("me/broken/config.json: is of a model of type 'bert'")
    assert tempfile.gettempdir() not in str(error.value) and not any(place.exists() for place in hub.places)


@pytest.mark.parametrize(
    "name", ["tests/data", "../secret", "/etc/passwd", "~/x", "a/b/c", "bert", "a/..", "a b/c", "x" * 9]
)
def test_a_folder_of_the_server_is_no_name_that_a_user_may_give(name, folder, hub, monkeypatch):
    monkeypatch.setattr(hub, "model_info", lambda *_, **__: (_ for _ in ()).throw(module.HFValidationError("no")))
    with pytest.raises(ValueError, match="expected owner/name"):
        fetched(Models(str(folder), "cpu"), name)
    assert hub.asked == []


def test_a_model_that_is_not_there_or_too_large(folder, hub):
    models = Models(str(folder), "cpu")
    with pytest.raises(OSError, match="no/such: there is no such public model on the Hub"):
        fetched(models, "no/such")
    hub.more = 3_000_000_000
    with pytest.raises(ValueError, match="me/large: has 3.0 GB, at most 1.5 GB"):
        fetched(models, "me/large")
    assert hub.asked == []


def test_no_connection_is_told_in_one_line(folder, hub, monkeypatch):
    def no_connection(*_, **__):
        raise HTTPError("no route")

    monkeypatch.setattr(hub, "model_info", no_connection)
    with pytest.raises(OSError, match="me/model: cannot be fetched from the Hub"):
        fetched(Models(str(folder), "cpu"), "me/model")
