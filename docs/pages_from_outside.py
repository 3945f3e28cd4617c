"""Hook of mkdocs: pages and pictures of the site that lie outside docs/, and the links between the two."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "MODEL_CARD.md": "card-small.md",
    "src/ccformer_hf/checkpoints/ccformer-tiny/README.md": "card-tiny.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
NO_PAGES = ("LICENSE", "NOTICE", "examples/notebook.ipynb")  # what pages may link to and the site has not


def on_files(files, config):
    for path, page in PAGES.items():
        text = re.sub(
            r"\A---\n.*?\n---\n", "", (ROOT / path).read_text(), flags=re.DOTALL
        )  # a card's head for the Hub
        files.append(File.generated(config, page, content=_with_links(text, posixpath.dirname(path))))
    for picture in (ROOT / "examples" / "pictures").iterdir():
        path = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, path, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    return markdown if page.file.src_uri in PAGES.values() else _with_links(markdown, "docs")


def _with_links(text: str, folder: str) -> str:
    """Links as the site has them, of a page that lies in `folder` of the repository."""

    def link(found: re.Match) -> str:
        name, target, anchor = found.groups(default="")
        if ":" in target:
            return found[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in NO_PAGES:
            return f"{name.strip('[]')} (`{path}`)"
        return f"{name}({PAGES.get(path, path.removeprefix('docs/'))}{anchor})"

    return re.sub(r"(\[[^\]\[]*\])\(([^)#\s]+)(#[^)\s]*)?\)", link, text)
