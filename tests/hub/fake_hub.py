"""A small Hub on this machine: enough of its HTTP interface to create repositories, commit to them and load from them.

It keeps everything in memory and remembers each commit, so that tests can say exactly what was pushed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

USER = "fake-user"
TOKEN = "hf_fakeTokenOfTheTests0123456789"
PERSON = "quetzalcoatl-7"
BASE = "some-org/base"


@dataclass
class Commit:
    message: str
    revision: str
    files: dict[str, bytes]


@dataclass
class Repo:
    private: bool | None
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[Commit] = field(default_factory=list)

    @property
    def files(self):
        return self.branches["main"]

    @property
    def messages(self):
        return [commit.message for commit in self.commits]


class FakeHub:
    """`with FakeHub(token) as hub:` serves at `hub.url`; `hub.models` and `hub.datasets` hold what was pushed."""

    def __init__(self, token):
        self.token = token
        self.repos = {"model": {}, "dataset": {}}
        self.failures = []  # (method, path) of requests that were not understood
        self.broken = set()  # names of repositories that answer commits with an error
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def models(self):
        return self.repos["model"]

    @property
    def datasets(self):
        return self.repos["dataset"]

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._route("GET")

    def do_HEAD(self):
        self._route("HEAD")

    def do_POST(self):
        self._route("POST")

    def _route(self, method):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        if method == "POST" and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._send(401, {"error": "no such token"})
        for verb, pattern, action in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method in verb:
                return getattr(self, action)(body, **match.groupdict())
        self.hub.failures.append((method, path))
        return self._send(404, {"error": f"{method} {path}"})

    def _send(self, status, content=None, data=None, **headers):
        data = json.dumps(content).encode() if data is None else data
        self.send_response(status)
        headers.setdefault("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        return None

    def _repo(self, kind, repo):
        found = self.hub.repos[(kind or "model").rstrip("s")].get(repo)
        if found is None:
            self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return found

    def _branch(self, kind, repo, revision):
        found = self._repo(kind, repo)
        if found is None:
            return None
        name = revision or "main"
        named = next((n for n, files in found.branches.items() if name in (n, _commit_id(files))), None)
        if named is None:
            self._send(404, {"error": "Revision not found"}, X_Error_Code="RevisionNotFound")
            return None
        return found.branches[named]

    # Actions ------------------------------------------------------------------------------------------------

    def whoami(self, body):
        self._send(200, {"name": USER, "type": "user", "orgs": []})

    def validate_yaml(self, body):
        self._send(200, {"errors": [], "warnings": []})

    def create(self, body):
        request = json.loads(body)
        kind = request.get("type") or "model"
        name = request["name"]
        repo = name if "/" in name else f"{request.get('organization') or USER}/{name}"
        prefix = "" if kind == "model" else f"{kind}s/"
        exists = repo in self.hub.repos[kind]
        private = request.get("private")
        if private is None and request.get("visibility"):
            private = request["visibility"] == "private"
        self.hub.repos[kind].setdefault(repo, Repo(private))
        self._send(409 if exists else 200, {"url": f"{self.hub.url}/{prefix}{repo}", "name": repo, "id": repo})

    def create_branch(self, body, kind, repo, revision):
        found = self._repo(kind, repo)
        if found is not None:
            exists = revision in found.branches
            found.branches.setdefault(revision, dict(found.files))
            self._send(409 if exists else 200, {})

    def preupload(self, body, kind, repo, revision):
        files = self._branch(kind, repo, revision)
        if files is not None:
            answers = [
                {"path": item["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": _blob_id(files.get(item["path"]))}
                for item in json.loads(body)["files"]
            ]  # fmt: skip
            self._send(200, {"files": answers})

    def commit(self, body, kind, repo, revision):
        files = self._branch(kind, repo, revision)
        if files is None:
            return
        if repo in self.hub.broken:
            self._send(403, {"error": "this repository takes no commits"})
            return
        header, *items = [json.loads(line) for line in body.splitlines() if line.strip()]
        pushed = {
            item["value"]["path"]: base64.b64decode(item["value"]["content"])
            for item in items
            if item["key"] == "file"
        }
        files |= pushed
        found = self._repo(kind, repo)
        found.commits.append(Commit(header["value"]["summary"], revision, pushed))
        oid = _commit_id(files)
        self._send(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    def info(self, body, kind, repo, revision=None):
        files = self._branch(kind, repo, revision)
        if files is not None:
            found = self._repo(kind, repo)
            card = re.match(rb"---\n(.*?)\n---", files.get("README.md", b""), flags=re.DOTALL)
            data = {}
            if card:
                import yaml

                data = yaml.safe_load(card[1])
            self._send(
                200,
                {
                    "_id": repo, "id": repo, "modelId": repo, "sha": _commit_id(files), "private": bool(found.private),
                    "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False, "cardData": data,
                    "siblings": [{"rfilename": name} for name in sorted(files)],
                },
            )  # fmt: skip

    def tree(self, body, kind, repo, revision, folder=""):
        files = self._branch(kind, repo, revision)
        if files is None:
            return
        recursive = "recursive=true" in self.path.lower()
        prefix = f"{folder.strip('/')}/" if folder and folder.strip("/") else ""
        found, folders = [], set()
        for name, data in sorted(files.items()):
            if not name.startswith(prefix):
                continue
            rest = name[len(prefix) :].split("/")
            for depth in range(1, len(rest)):
                folders.add(prefix + "/".join(rest[:depth]))
                if not recursive:
                    break
            if recursive or len(rest) == 1:
                found.append({"type": "file", "path": name, "size": len(data), "oid": _blob_id(data)})
        found += [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in sorted(folders)]
        if prefix and not found:
            self._send(404, {"error": "no such folder"}, X_Error_Code="EntryNotFound")
        else:
            self._send(200, found)

    def paths_info(self, body, kind, repo, revision):
        files = self._branch(kind, repo, revision)
        if files is not None:
            request = json.loads(body)
            found = []
            for name in request["paths"]:
                if name in files:
                    found.append(
                        {"type": "file", "path": name, "size": len(files[name]), "oid": _blob_id(files[name])}
                    )
                elif any(other.startswith(f"{name}/") for other in files):
                    found.append({"type": "directory", "path": name, "size": 0, "oid": "0" * 40})
            self._send(200, found)

    def resolve(self, body, repo, revision, name, kind=None):
        files = self._branch(kind, repo, revision)
        if files is None:
            return
        if name not in files:
            self._send(
                404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=_commit_id(files)
            )
            return
        data = files[name]
        start, end = 0, len(data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        extra = {}
        if wanted:
            start, end = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
            extra["Content_Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        self._send(
            206 if wanted else 200,
            data=data[start:end],
            ETag=f'"{_blob_id(data)}"',
            X_Repo_Commit=_commit_id(files),
            Content_Type="application/octet-stream",
            Accept_Ranges="bytes",
            **extra,
        )


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_KIND = r"(?P<kind>models|datasets)"
_ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", rf"/api/{_KIND}/{_REPO}/branch/(?P<revision>.+)", "create_branch"),
    ("POST", rf"/api/{_KIND}/{_REPO}/preupload/(?P<revision>.+)", "preupload"),
    ("POST", rf"/api/{_KIND}/{_REPO}/commit/(?P<revision>.+)", "commit"),
    ("POST", rf"/api/{_KIND}/{_REPO}/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("GET", rf"/api/{_KIND}/{_REPO}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?", "tree"),
    ("GET", rf"/api/{_KIND}/{_REPO}(/revision/(?P<revision>[^/]+))?", "info"),
    ("GET HEAD", rf"/(?P<kind>datasets)/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "resolve"),
    ("GET HEAD", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "resolve"),
]


def _blob_id(data):
    return None if data is None else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _commit_id(files):
    return hashlib.sha1(repr(sorted((name, _blob_id(data)) for name, data in files.items())).encode()).hexdigest()
