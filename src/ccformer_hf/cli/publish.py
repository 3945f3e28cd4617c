"""`ccformer publish`: puts a trained model, a converted data set or the Space on the Hugging Face Hub."""

import argparse

from .arguments import add_command, quiet_transformers

PUBLISH_EXAMPLES = """\
examples:
  ccformer publish runs/mine me/my-model --dry-run                 the files that would go up; needs no login
  ccformer publish runs/mine me/my-model                           to a private repository
  ccformer publish runs/mine me/my-model --public --license apache-2.0
  ccformer publish runs/mine/last me/my-model --revision longer    to a branch
  ccformer publish avsbench-parquet me/avsbench --dataset
  ccformer publish space me/my-space --space

Log in once with `hf auth login`, or set HF_TOKEN. Everything goes up in one commit: a new repository is private until
all is there, and after a stop the same command completes it. With a model go its settings, its processor, its code and
a card made from the run, with the run's pictures (those in RUN/pictures show clips; remove the folder to leave them
out), and nothing else of the run.
"""


def add_publish(commands) -> None:
    """Adds the command to the parser's commands."""
    publish = add_command(
        commands,
        "publish",
        help="upload a trained model, data or the Space to the Hub",
        description="Uploads a trained model with its card to the Hugging Face Hub; or a converted data set, or a "
        "Space.",
        epilog=PUBLISH_EXAMPLES,
    )
    add = publish.add_argument
    add("folder", metavar="RUN", help="folder of a training run, whose best weights are taken, or a model folder")
    add("repo_id", metavar="REPO_ID", help="OWNER/NAME; made where it does not exist")
    kind = publish.add_mutually_exclusive_group()
    kind.add_argument("--dataset", action="store_true", help="RUN is a folder that `ccformer data convert` wrote")
    kind.add_argument("--space", action="store_true", help="RUN is the folder of a Space with Gradio")
    access = publish.add_mutually_exclusive_group()
    access.add_argument(
        "--private",
        dest="public",
        action="store_const",
        const=False,
        help="refuse a repository that is public (default: a new one is private, an old one stays what it is)",
    )
    access.add_argument("--public", action="store_const", const=True, help="make it public, once everything is there")
    add("--revision", metavar="BRANCH", help="commit to this branch, made where it does not exist (default: main)")
    add(
        "--license",
        default="",
        metavar="ID",
        help="of the weights, as the Hub names it: apache-2.0, cc-by-nc-4.0, ...",
    )
    add("--dry-run", action="store_true", help="check everything, list the files, upload nothing")
    publish.set_defaults(run=_publish)


def _publish(options: argparse.Namespace) -> int:
    if options.license and (options.dataset or options.space):
        options.parser.error("argument --license: is for models; the README.md of a data set or a Space names its own")
    from ..hub import address, check_repo_id, files_to_upload, made_ready, push_folder

    quiet_transformers()
    repo_type = "dataset" if options.dataset else "space" if options.space else "model"
    check_repo_id(options.repo_id)
    with made_ready(options.folder, options.repo_id, repo_type, options.license) as folder:
        files = files_to_upload(folder)
        for path, size in files.items() if options.dry_run else ():
            print(f"  {_size(size):>10}  {path}")
        summary = f"{len(files)} files, {_size(sum(files.values()))}"
        branch = options.revision or "main"
        if options.dry_run:
            place = address(options.repo_id, repo_type)
            print(f"{summary} would go to {place}, branch {branch}; nothing was uploaded")
            return 0
        place = push_folder(folder, options.repo_id, repo_type, options.public, options.revision)
    print(f"{summary} are at {place}, branch {branch}")
    return 0


def _size(count: int) -> str:
    """`11.5 MB`, as the Hub counts."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
