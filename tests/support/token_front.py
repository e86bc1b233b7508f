"""A front as docs/operators.md has it: it lets through who knows a member's number and token."""

from __future__ import annotations

import base64
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import quote

TOKEN: Final = "SEKRET/of seven"
ANSWER_WITHIN_S: Final = 20


@dataclass
class Front:
    """Where it listens, and whether each request had the token."""

    url: str
    let_in: list[bool] = field(default_factory=list)

    def with_token(self, token: str = TOKEN) -> str:
        return self.url.replace("http://", f"http://7:{quote(token, safe='')}@")

    def written(self, path: Path, token: str = TOKEN) -> str:
        """The place of a file with the URL in it, as a member has it."""
        path.write_text(self.with_token(token) + "\n")
        path.chmod(0o600)
        return f"file:{path}"


@contextmanager
def token_front(behind: str) -> Iterator[Front]:
    """In a thread: commands run a loop of their own."""
    wanted = "Basic " + base64.b64encode(f"7:{TOKEN}".encode()).decode()
    front = Front("")

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            front.let_in.append(self.headers.get("Authorization") == wanted)
            if not front.let_in[-1]:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="members"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(behind, body, headers)  # noqa: S310 - loopback
            with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S) as said:  # noqa: S310
                answer = said.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        front.url = f"http://127.0.0.1:{server.server_port}/"
        try:
            yield front
        finally:
            server.shutdown()
