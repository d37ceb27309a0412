"""Serves the files of the page from memory, with ETags and optional gzip compression."""

import mimetypes
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

from saga_app.web import compression

#: The content security policy restricts the page to this server.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class File(NamedTuple):
    """One file of the page. `packed` is its gzip form, which has an ETag of its own."""

    body: bytes
    kind: str
    etag: str
    packed: bytes | None


def load(root: Traversable | None = None) -> dict[str, File]:
    """All files of the page by path."""
    found: dict[str, File] = {}
    _add(found, root or files("saga_app.console") / "page", "/")
    return found


def _add(found: dict[str, File], folder: Traversable, path: str) -> None:
    for item in folder.iterdir():
        if item.is_dir():
            _add(found, item, f"{path}{item.name}/")
        elif not item.name.startswith((".", "_")):
            found[path + item.name] = _read(item)


def _read(item: Traversable) -> File:
    body = item.read_bytes()
    ending = item.name[item.name.rfind(".") :]
    kind = _TYPES.get(ending) or mimetypes.guess_type(item.name)[0] or "application/octet-stream"
    packed = compression.pack(body, 9) if len(body) >= compression.MIN_BYTES else None
    return File(body, kind, blake2b(body, digest_size=8).hexdigest(), packed)


def add_routes(app: web.Application, page: dict[str, File]) -> None:
    """Add `GET /` and all files under `/page` to the router."""
    for path, file in page.items():
        app.router.add_get(f"/page{path}", _handler(file))
    if "/index.html" in page:
        app.router.add_get("/", _handler(page["/index.html"]))


def _handler(file: File):  # type: ignore[no-untyped-def]
    async def answer(request: web.Request) -> web.Response:
        known = request.if_none_match or ()
        response = web.Response(headers=HEADERS)
        packed = file.packed if compression.of_request(request) else None
        response.etag = etag = f"{file.etag}-gzip" if packed else file.etag
        if any(tag.value in (etag, "*") for tag in known):
            response.set_status(304)
            return response
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        response.body, response.content_type = packed or file.body, file.kind
        if file.kind.startswith("text/"):
            response.charset = "utf-8"
        return response

    return answer
