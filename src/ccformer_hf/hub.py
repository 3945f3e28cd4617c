"""Publishes trained models, converted data sets and the Space on the Hugging Face Hub: whole, in one commit."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import filter_repo_objects, validate_repo_id

from .atomic import scratch_folder
from .data.avsbench import SETTINGS
from .data.shards import is_converted, read_plan, shard_files
from .inference.loading import load
from .model_card import ModelRecord, model_card, read_record
from .training.run_folder import RunFolder

MESSAGES = {
    "model": "Model, published with ccformer-hf",
    "dataset": "Parquet shards of ccformer data convert",
    "space": "Space of ccformer-hf",
}
LEFT_BEHIND = [".*", "*/.*", "*.partial", "__pycache__/", "*/__pycache__/*", "*.pyc"]
# What an earlier upload may have left there under other names, and what would be read beside the new files.
REPLACED = {
    "model": ["*.safetensors", "*.safetensors.index.json", "pictures/*"],
    "dataset": ["*.parquet"],
    "space": None,
}
SHARD_SIZE = "5GB"


def check_repo_id(repo_id: str) -> None:
    """Refuses what cannot be the name of a repository, before hours are spent on what is to be uploaded.

    Raises:
        ValueError: for anything but `OWNER/NAME`.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id}: is not the name of a repository ({error}); expected OWNER/NAME") from None
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id}: is not the name of a repository; expected OWNER/NAME")


def publish(
    source: str | os.PathLike,
    repo_id: str,
    repo_type: str = "model",
    public: bool | None = None,
    revision: str | None = None,
    license: str = "",
) -> str:
    """Uploads a model, a data set or a Space to the Hub in one commit. After a stop, the same call completes it.

    Args:
        source, license: see `made_ready`.
        repo_id: `OWNER/NAME`; made where it does not exist.
        repo_type: `"model"`, `"dataset"` or `"space"`.
        public, revision: see `push_folder`.

    Returns:
        Address of the repository.

    Raises:
        OSError: where a file is missing or damaged, the Hub cannot be reached, or it refuses.
        ValueError: for a name that no repository can have, or for a folder of another kind.
    """
    check_repo_id(repo_id)
    with made_ready(source, repo_id, repo_type, license) as folder:
        return push_folder(folder, repo_id, repo_type, public, revision)


@contextmanager
def made_ready(source: str | os.PathLike, repo_id: str, repo_type: str = "model", license: str = "") -> Iterator[Path]:
    """The folder that goes up as it is, gone at the end of the `with` block where it is a copy.

    Args:
        source: the folder of a training run (`best` of it, else `last`) or a model folder; one that
            `ccformer data convert` wrote; or that of a Space with Gradio.
        repo_id: where it is to be, for the model card.
        repo_type: `"model"`, `"dataset"` or `"space"`.
        license: of the weights, by the Hub's short name such as `"apache-2.0"`; empty: as the folder tells.

    Raises:
        OSError: where a file is missing or damaged.
        ValueError: for a folder of another kind, or whose weights are a pickle.
    """
    source = Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: there is no such folder")
    if repo_type == "model":
        with scratch_folder("ccformer-publish") as folder:
            _stage_model(source, folder, repo_id, license)
            yield folder
        return
    if repo_type == "dataset":
        _check_dataset(source)
        yield source
        return
    _check_space(source)
    with scratch_folder("ccformer-publish") as folder:
        _stage_space(source, folder)
        yield folder


def files_to_upload(folder: str | os.PathLike) -> dict[str, int]:
    """What `push_folder` uploads: path in the repository -> bytes, by name."""
    folder = Path(folder)
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path: (folder / path).stat().st_size for path in filter_repo_objects(paths, ignore_patterns=LEFT_BEHIND)}


def address(repo_id: str, repo_type: str) -> str:
    """Where a repository is, or will be."""
    return f"{constants.ENDPOINT}/{constants.REPO_TYPES_URL_PREFIXES.get(repo_type, '')}{repo_id}"


def push_folder(
    folder: str | os.PathLike,
    repo_id: str,
    repo_type: str,
    public: bool | None = None,
    revision: str | None = None,
) -> str:
    """Uploads a folder in one commit. A new repository is private until all is there.

    Args:
        folder: all of it goes up, but for hidden and temporary files.
        repo_id: `OWNER/NAME`.
        repo_type: `"model"`, `"dataset"` or `"space"`.
        public: whether the repository is to be public in the end; None: a new one is private, an old one stays what it
            is.
        revision: branch to commit to, made where it does not exist; None: the main one.

    Returns:
        Address of the repository.

    Raises:
        OSError: where the Hub cannot be reached, or refuses.
        ValueError: where the repository is public and must not be.
    """
    api = HfApi()
    try:
        api.whoami()
        sdk = {"space_sdk": "gradio"} if repo_type == "space" else {}
        api.create_repo(repo_id, repo_type=repo_type, private=True, exist_ok=True, **sdk)
        is_public = not api.repo_info(repo_id, repo_type=repo_type).private
        if is_public and public is False:
            raise ValueError(
                f"{repo_id}: is public; make it private in its settings on the Hub, or name another repository"
            )
        if revision:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            revision=revision,
            ignore_patterns=LEFT_BEHIND,
            delete_patterns=REPLACED[repo_type],
            commit_message=MESSAGES[repo_type],
        )
        if public and not is_public:
            api.update_repo_settings(repo_id, repo_type=repo_type, private=False)
    except RuntimeError as error:  # huggingface_hub tells so of a large file that did not arrive
        raise _refusal(error.__cause__ or error, repo_id) from error
    except (HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
        raise _refusal(error, repo_id) from error
    return address(repo_id, repo_type)


def _refusal(error: BaseException, repo_id: str) -> OSError:
    """What an error of the Hub means, and what helps."""
    login = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write there"
    again = "nothing half done is to be seen there; run the same command again, it completes the upload"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, OfflineModeIsEnabled):
        meaning, help_ = (
            "huggingface_hub is set to stay offline",
            "unset HF_HUB_OFFLINE and run the same command again",
        )
    elif isinstance(error, LocalTokenNotFoundError) or status == 401:
        meaning, help_ = "the Hub does not know who you are", login
    elif status == 403:
        meaning, help_ = "you have no right to write there", f"{login}; or name a repository of your own"
    elif status is not None and status >= 500:
        meaning, help_ = "the Hub failed", again
    elif status is not None:
        meaning, help_ = "the Hub did not take the upload", "fix that and run the same command again"
    else:
        meaning, help_ = f"{constants.ENDPOINT} cannot be reached", again
    return OSError(f"{repo_id}: {meaning} ({reason}); {help_}")


def model_folder(source: Path) -> Path:
    """The model folder that a run's folder has to offer; any other folder is one itself."""
    run = RunFolder(source)
    for folder in (run.best, run.last):
        if folder.is_dir():
            return folder
    if run.states.is_dir() and not (source / "config.json").exists():
        raise FileNotFoundError(
            f"{source}: this run has not saved a model yet, neither best nor last; let it go on with --resume"
        )
    return source


def _stage_model(source: Path, target: Path, repo_id: str, license: str) -> None:
    """Saves a model anew, with its code and card and nothing else, and makes sure that it is the same one."""
    folder = model_folder(source)
    record = read_record(folder)
    model, processor = load(folder, "cpu")
    model.save_pretrained(target, max_shard_size=SHARD_SIZE)
    processor.save_pretrained(target)
    again, _ = load(target, "cpu")
    again = again.state_dict()
    for name, tensor in model.state_dict().items():
        if not torch.equal(tensor, again[name]):
            raise ValueError(
                f"{folder}: {name} was not the same when it was saved and loaded again; are its numbers finite?"
            )
    if (
        record is None and (folder / "README.md").is_file()
    ):  # somebody wrote it; there is nothing to make a better one from
        card = _written_card(folder / "README.md")
        card.data.license = license or card.data.license
        card.save(target / "README.md")
        return
    record = record or ModelRecord()
    record = replace(record, license=license or record.license)
    pictures = [] if folder == source else _copy_pictures(source, record, target)
    (target / "README.md").write_text(model_card(record, model, processor, repo_id, pictures), encoding="utf-8")


def _written_card(file: Path) -> ModelCard:
    """A card that somebody wrote.

    Raises:
        ValueError: where its header is not one.
    """
    try:
        return ModelCard.load(file)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{file}: has no header that the Hub can read ({text}); fix or remove it") from None


def _copy_pictures(run: Path, record: ModelRecord, target: Path) -> list[str]:
    """Puts a run's pictures beside the card, but no predictions on AVSBench: its frames may not be passed on."""
    pictures = [run / "report.png"]
    if record.dataset not in SETTINGS:
        pictures += sorted((run / "pictures").glob("*.png"))
    pictures = [path for path in pictures if path.is_file()]
    (target / "pictures").mkdir()
    for path in pictures:
        shutil.copyfile(path, target / "pictures" / path.name)
    return [f"pictures/{path.name}" for path in pictures]


def _check_dataset(folder: Path) -> None:
    if not is_converted(folder):
        raise ValueError(
            f"{folder}: was not written by `ccformer data convert`; convert the data first, then name the folder it "
            "wrote"
        )
    for setting in read_plan(folder):
        shard_files(folder, setting)


def _check_space(folder: Path) -> None:
    expected = (
        "expected a folder with app.py, and a README.md that begins with a YAML header in which `sdk: gradio` stands"
    )
    for name in ("app.py", "README.md"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: has no {name}, so it is not a Space; {expected}")
    parts = (folder / "README.md").read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    try:
        header = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        header = None
    if not isinstance(header, dict) or header.get("sdk") != "gradio":
        raise ValueError(f"{folder / 'README.md'}: has no header of a Space with Gradio; {expected}")


def _stage_space(source: Path, target: Path) -> None:
    """A Space, with this package beside an `app.py` that imports it: the Hub cannot install it from elsewhere."""
    leave = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    shutil.copytree(source, target, ignore=leave, dirs_exist_ok=True)
    package = Path(__file__).parent
    if package.name in (source / "app.py").read_text(encoding="utf-8"):
        shutil.copytree(package, target / package.name, ignore=leave, dirs_exist_ok=True)
