"""Uploads folders to the Hugging Face Hub (ours)."""

import os

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError, HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

LEFTOVERS = [".*", "*/.*", "*.partial"]  # temporary names


def check_repo_id(repo_id: str) -> None:
    """Refuses what cannot be the name of a repository, before hours are spent on what is to be uploaded.

    Raises:
        ValueError: for anything but `OWNER/NAME`.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id}: is no name of a repository ({error}); wanted is OWNER/NAME") from None
    if repo_id.count("/") != 1:
        raise ValueError(f"{repo_id}: is no name of a repository; wanted is OWNER/NAME")


def push_folder(folder: str | os.PathLike, repo_id: str, repo_type: str, message: str) -> str:
    """Uploads a folder in one commit; a repository that is not there yet is made private.

    Args:
        repo_id: `OWNER/NAME`.
        repo_type: `"model"`, `"dataset"` or `"space"`.
        message: of the commit.

    Returns:
        Address of the repository.

    Raises:
        OSError: where the Hub cannot be reached, or refuses.
    """
    api = HfApi()
    try:
        api.whoami()
        url = api.create_repo(repo_id, repo_type=repo_type, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            repo_type=repo_type,
            folder_path=folder,
            ignore_patterns=LEFTOVERS,
            commit_message=message,
        )
    except (HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OSError(
            f"{repo_id}: the Hub did not take the upload ({reason}); log in with `hf auth login`, or set HF_TOKEN, with a "
            f"token that may write there, and run the same command again: {folder} is whole"
        ) from error
    return str(url)
