"""A Hub on the loopback address: enough of the Hugging Face Hub's HTTP interface to create, upload and download.

Everything is kept in memory. `huggingface_hub` reads its address at import: a fresh process gets it as `HF_ENDPOINT`,
a forked one, which need not import all anew, calls `use_hub`.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants, hf_api

URL_PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
LARGE = (".safetensors", ".parquet", ".png", ".mp4", ".wav", ".bin")  # uploaded by the large-file protocol
LARGE_BYTES = 10_000_000


def use_hub(address: str, token: str = "any") -> None:
    """Points the client of this process at a Hub, as `HF_ENDPOINT` and the like do for a fresh one."""
    os.environ["HF_TOKEN"] = token
    constants.ENDPOINT, constants.HF_HUB_DISABLE_XET = address, True
    constants.HF_TOKEN_PATH = os.devnull  # no token of whoever runs the tests


def lend_hub(monkeypatch, address: str, cache: Path) -> None:
    """The same for the tests' own process, until the end of a test, with a cache of its own for what is fetched."""
    monkeypatch.setenv("HF_TOKEN", "any")
    for name, value in {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(cache),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    # transformers keeps a client of its own, made with the address of the moment when it was first needed.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)


@dataclass
class Repository:
    """Commits of one repository; a tree gives each path the content it has in that commit."""

    private: bool
    history: list[str] = field(default_factory=list)  # what was done, such as "private", "commit main", "public"
    refs: dict[str, str] = field(default_factory=dict)
    # commit: path: ("regular" or "lfs", content)
    trees: dict[str, dict[str, tuple[str, bytes]]] = field(default_factory=dict)

    def commit(self, tree: dict[str, tuple[str, bytes]], branch: str = "main") -> str:
        """Adds a commit and moves the branch to it."""
        sha = _sha1(f"{len(self.trees)} {sorted(tree)}".encode())
        self.trees[sha] = tree
        self.refs[branch] = sha
        self.history.append(f"commit {branch}")
        return sha

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch or commit names."""
        return self.refs.get(revision.replace("refs/heads/", "")) or (revision if revision in self.trees else None)


@dataclass
class Hub:
    """What the server holds, and its address. Every token may write, but for those in `readers`.

    `failing` says which calls are answered by an error, as (pattern of "METHOD path", status, how often); status 0
    cuts the connection.
    """

    address: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)  # (kind, owner/name)
    large: dict[str, bytes] = field(default_factory=dict)  # uploaded, by SHA-256, maybe not yet committed
    readers: tuple[str, ...] = ()
    failing: list[tuple[str, int, int]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def files(self, kind: str, name: str, branch: str = "main") -> dict[str, bytes]:
        """Contents of a branch by path."""
        repository = self.repositories[kind, name]
        return {path: content for path, (_, content) in repository.trees[repository.refs[branch]].items()}

    def failure(self, call: str) -> int | None:
        """The status by which this call fails; None: it does not."""
        for place, (pattern, status, times) in enumerate(self.failing):
            if times and re.search(pattern, call):
                self.failing[place] = (pattern, status, times - 1)
                return status
        return None


@contextmanager
def running_hub(readers: tuple[str, ...] = ()) -> Iterator[Hub]:
    """A Hub that answers at `hub.address` inside the `with` block."""
    hub = Hub(readers=readers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _entry(path: str, kind: str, content: bytes) -> dict:
    facts = {"type": "file", "path": path, "size": len(content), "oid": _sha1(content)}
    if kind == "lfs":
        facts["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return facts


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_) -> None:
        pass

    def _any(self) -> None:
        body = self._body()
        url = urlsplit(self.path)
        with self.hub.lock:
            status = self.hub.failure(f"{self.command} {unquote(url.path)}")
            if status is None:
                self._route(unquote(url.path), url.query, body)
            elif status:
                self._refuse(status, "InternalServerError")
            else:
                self.close_connection = True

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return body

    def _send(self, answer: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answers bytes as they are, anything else as JSON."""
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        kind = "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        self.send_response(code)
        for key, value in ({"Content-Type": kind, "Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, code: int, reason: str) -> None:
        self._send({"error": reason}, code, {"X-Error-Code": reason, "X-Error-Message": reason})

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _route(self, path: str, query: str, body: bytes) -> None:
        token = self._token()
        if path == "/api/whoami-v2":
            if not token or token == "unknown":
                return self._refuse(401, "Unauthorized")
            user = {"type": "user", "name": "tester", "orgs": [], "auth": {"accessToken": {"role": "write"}}}
            return self._send(user)
        if path == "/api/repos/create":
            return self._refuse(403, "Forbidden") if token in self.hub.readers else self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        if match := re.match(r"^/api/(model|dataset|space)s/([^/]+/[^/]+)(?:/(.*))?$", path):
            return self._repository(match[1], match[2], match[3] or "", query, body)
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._announce(json.loads(body)["objects"])
        if path.startswith("/_lfs/"):
            digest = path.removeprefix("/_lfs/")
            if hashlib.sha256(body).hexdigest() != digest:
                return self._refuse(400, "BadDigest")
            self.hub.large[digest] = body
            return self._send({})
        if path == "/_ok":
            return self._send({})
        if match := re.match(r"^/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$", path):
            kind = {"datasets/": "dataset", "spaces/": "space", None: "model"}[match[1]]
            return self._download(kind, match[2], match[3], match[4])
        return self._refuse(404, "RepoNotFound")

    def _create(self, wanted: dict) -> None:
        kind, name = wanted.get("type", "model"), f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        answer = {"url": f"{self.hub.address}/{URL_PREFIX[kind]}{name}", "name": name, "id": "x"}
        if (kind, name) in self.hub.repositories:
            return self._send(answer, 409)
        repository = self.hub.repositories[kind, name] = Repository(
            wanted.get("private") is True or wanted.get("visibility") == "private"
        )
        repository.history.append("private" if repository.private else "public")
        repository.commit({})
        return self._send(answer)

    def _repository(self, kind: str, name: str, rest: str, query: str, body: bytes) -> None:
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self._token()):
            return self._refuse(404, "RepoNotFound")
        action, _, place = rest.partition("/")
        if self.command != "GET" and self._token() in ("", *self.hub.readers):
            return self._refuse(403, "Forbidden")
        if action == "preupload":
            files = json.loads(body)["files"]
            return self._send(
                {
                    "files": [
                        {
                            "path": file["path"],
                            "uploadMode": "lfs"
                            if file["path"].endswith(LARGE) or file["size"] > LARGE_BYTES
                            else "regular",
                            "shouldIgnore": False,
                            "oid": None,
                        }
                        for file in files
                    ]
                }
            )
        if action == "commit":
            return self._commit(kind, name, repository, place, body)
        if action == "branch":
            if place in repository.refs:
                return self._refuse(409, "ReferenceExists")
            repository.refs[place] = repository.refs["main"]
            return self._send({})
        if action == "settings":
            wanted = json.loads(body)
            repository.private = wanted.get("private") is True or wanted.get("visibility") == "private"
            repository.history.append("private" if repository.private else "public")
            return self._send({})
        if action in ("", "revision"):
            sha = repository.resolve(place or "main")
            if sha is None:
                return self._refuse(404, "RevisionNotFound")
            facts = {
                "_id": "x",
                "id": name,
                "modelId": name,
                "sha": sha,
                "private": repository.private,
                "gated": False,
            }
            facts |= {"disabled": False, "tags": [], "downloads": 0, "likes": 0}
            siblings = [
                {"rfilename": path, "size": len(file[1])} for path, file in sorted(repository.trees[sha].items())
            ]
            return self._send(facts | {"siblings": siblings})
        if action == "tree":
            revision, _, folder = place.partition("/")
            sha = repository.resolve(revision)
            if sha is None:
                return self._refuse(404, "RevisionNotFound")
            return self._tree(repository.trees[sha], folder, "recursive=true" in query)
        return self._refuse(404, "EntryNotFound")

    def _tree(self, tree: dict[str, tuple[str, bytes]], folder: str, recursive: bool) -> None:
        start = f"{folder}/" if folder else ""
        inside = [path for path in sorted(tree) if path.startswith(start)]
        items = [_entry(path, *tree[path]) for path in inside if recursive or "/" not in path[len(start) :]]
        if not recursive:
            below = sorted({path[len(start) :].split("/")[0] for path in inside if "/" in path[len(start) :]})
            items += [
                {"type": "directory", "path": start + name, "size": 0, "oid": _sha1(name.encode())} for name in below
            ]
        return self._send(items) if items or not folder else self._refuse(404, "EntryNotFound")

    def _announce(self, objects: list[dict]) -> None:
        """Tells where to upload the large files that are not there yet."""

        def actions(digest: str) -> dict:
            if digest in self.hub.large:
                return {}
            upload = {"href": f"{self.hub.address}/_lfs/{digest}", "header": {}}
            return {"actions": {"upload": upload, "verify": {"href": f"{self.hub.address}/_ok"}}}

        known = [{"oid": file["oid"], "size": file["size"], **actions(file["oid"])} for file in objects]
        self._send({"transfer": "basic", "objects": known})

    def _commit(self, kind: str, name: str, repository: Repository, branch: str, body: bytes) -> None:
        tree = dict(repository.trees[repository.resolve(branch)])
        for line in filter(None, body.splitlines()):
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                tree[value["path"]] = ("regular", base64.b64decode(value["content"]))
            elif operation["key"] == "lfsFile":
                tree[value["path"]] = ("lfs", self.hub.large[value["oid"]])
            elif operation["key"] == "deletedFile":
                tree.pop(value["path"], None)
        sha = repository.commit(tree, branch)
        url = f"{self.hub.address}/{URL_PREFIX[kind]}{name}/commit/{sha}"
        self._send({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _download(self, kind: str, name: str, revision: str, path: str) -> None:
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self._token()):
            return self._refuse(404, "RepoNotFound")
        sha = repository.resolve(revision)
        if sha is None:
            return self._refuse(404, "RevisionNotFound")
        if path not in repository.trees[sha]:
            return self._refuse(404, "EntryNotFound")
        way, content = repository.trees[sha][path]
        digest = hashlib.sha256(content).hexdigest() if way == "lfs" else _sha1(content)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if part := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(part[1]), int(part[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self._send(content[first : last + 1], 206, headers)
        return self._send(content, 200, headers)
