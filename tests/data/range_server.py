"""A real HTTP server of files that can misbehave as told, one request after the other.

It answers what S3 and Google Cloud Storage ask of their own servers too, as far as reading goes.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class RangeServer(ThreadingHTTPServer):
    """Serves `files`, path to content; each request takes the next of `faults`, if any is left."""

    # The length of the queue of connections; faults break many.
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range header of each request."""
        self.outwaited = False
        """Whether a client waited until a stalled request was ended here."""
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that has heard enough hangs up; what is told of it would be on the test's stderr.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


@contextmanager
def serve_ranges() -> Iterator[RangeServer]:
    server = RangeServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        # Google's paths are /download/storage/v1/b/BUCKET/o/NAME with an escaped name.
        path = unquote(urlsplit(self.path).path)
        path = path.replace("/download/storage/v1/b", "").replace("/o/", "/", 1)
        self.server.requests.append((path, asked))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        content = self.server.files.get(path)
        if fault.isdigit():
            self._answer(int(fault), b"told to")
        elif content is None:
            self._answer(404, b"no such file")
        elif fault in {"reset", "stall"}:
            if fault == "stall":
                self.server.outwaited = not self.server.closing.wait(10)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif asked is None or fault == "whole":
            self._answer(200, content)
        else:
            self._answer_range(content, asked, fault)

    def _answer_range(self, content: bytes, asked: str, fault: str) -> None:
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start = int(first) + (fault == "shifted")
        stop = min(int(last) + 1 if last else len(content), len(content))
        if start >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        header = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
        body = content[start:stop]
        if fault == "short":
            self._answer(206, body[: len(body) // 2], header, length=len(body))
            self.close_connection = True
        elif fault == "short unseen":
            # The end of the connection is all that tells the end of the body.
            self._answer(206, body[: len(body) // 2], header | {"Connection": "close"}, length=None)
        elif fault == "trickle":
            self._answer(206, b"", header, length=len(body))
            self._trickle(body)
        else:
            self._answer(206, body, header)

    def _trickle(self, body: bytes) -> None:
        # Until the client has had enough.
        with suppress(OSError):
            for byte in body:
                self.wfile.write(bytes([byte]))
                self.server.closing.wait(0.05)

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        length: int | None = -1,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
