"""A small HTTP server that answers like the Hugging Face hub, for models in local folders."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+)(?:/(.*))?)?")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A served model: its folder, and its commit, which is also its `main`."""

    folder: Path
    commit: str

    def files(self) -> list[str]:
        """Relative names of all files."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


class StandInHub(ThreadingHTTPServer):
    """The hub on the loopback address, at `endpoint`; call `serve_forever`.

    models: hub id (such as `Qwen/Qwen3-0.6B`) -> what is served under it. port: 0 for any free one.
    """

    daemon_threads = True

    def __init__(self, models: Mapping[str, HubModel], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.models = dict(models)

    @property
    def endpoint(self) -> str:
        """The value for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandInHub  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        if found := _RESOLVE.fullmatch(path):
            self._resolve(*found.groups(), body=body)
        elif found := _API.fullmatch(path):
            self._api(*found.groups(), body=body)
        else:
            self._fail("EntryNotFound", f"the stand-in hub has no {path}", body=body)

    def _resolve(self, model_id: str, revision: str, name: str, *, body: bool) -> None:
        model = self._model(model_id, revision, body=body)
        if model is None:
            return
        if name not in model.files():
            self._fail("EntryNotFound", f"{model_id} has no {name}", model, body=body)
            return
        content = (model.folder / name).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and 0 < int(start[1]) < len(content):
            headers["Content-Range"] = f"bytes {start[1]}-{len(content) - 1}/{len(content)}"
            self._send(HTTPStatus.PARTIAL_CONTENT, content[int(start[1]) :], headers, model, body=body)
        else:
            self._send(HTTPStatus.OK, content, headers, model, body=body)

    def _api(self, model_id: str, kind: str | None, revision: str | None, under: str | None, *, body: bool) -> None:
        model = self._model(model_id, revision or "main", body=body)
        if model is None:
            return
        if kind == "tree":
            below = f"{under}/" if under else ""
            files = [name for name in model.files() if name.startswith(below)]
            if under and not files:
                self._fail("EntryNotFound", f"{model_id} has no folder {under}", model, body=body)
                return
            answer: Any = [
                {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}
                for name in files
                for size in [(model.folder / name).stat().st_size]
            ]
        else:
            siblings = [{"rfilename": name} for name in model.files()]
            answer = {"id": model_id, "modelId": model_id, "sha": model.commit, "private": False, "gated": False,
                      "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}  # fmt: skip
        content = json.dumps(answer).encode()
        self._send(HTTPStatus.OK, content, {"Content-Type": "application/json"}, model, body=body)

    def _model(self, model_id: str, revision: str, *, body: bool) -> HubModel | None:
        model = self.server.models.get(model_id)
        if model is None:
            self._fail("RepoNotFound", f"the stand-in hub has no model {model_id}", body=body)
        elif revision not in ("main", model.commit):
            self._fail("RevisionNotFound", f"{model_id} has no revision {revision}", body=body)
            return None
        return model

    def _fail(self, code: str, message: str, model: HubModel | None = None, *, body: bool) -> None:
        content = json.dumps({"error": message}).encode()
        headers = {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"}
        self._send(HTTPStatus.NOT_FOUND, content, headers, model, body=body)

    def _send(
        self, status: HTTPStatus, content: bytes, headers: Mapping[str, str], model: HubModel | None, *, body: bool
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if model is not None:
            self.send_header("X-Repo-Commit", model.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)
