"""The server behind the live page: on loopback alone, for who has the token, and it only reads.

The token comes once in the address and then as a cookie; a page of another site can neither read nor ask, as the name
that the browser was told (`Host`) must be that of this machine.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from grokstudy.orchestrator.console.live import LiveStudy
from grokstudy.trainables.storage.store import Store
from grokstudy.trainables.storage.study_dir import study_names

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
)
"""What the page may load: its own scripts (the charting library compiles expressions), and nothing from elsewhere."""

SAFE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Headers of every answer."""


Driver = tuple[str | None, str | None]
"""The study that somebody trains now, and who, in words."""


class LiveServer(ThreadingHTTPServer):
    """Serves the studies of one root. `address` is what a person opens."""

    daemon_threads = True

    def __init__(self, store: Store, port: int, driver: Callable[[], Driver], first: str | None = None) -> None:
        """Take the port (0: any that is free). `driver` says who trains; `first` is the study shown at first."""
        super().__init__((HOST, port), _Handler)
        self.store, self.driver, self.first = store, driver, first
        self.token = secrets.token_urlsafe(24)
        self._studies: dict[str, LiveStudy] = {}

    @property
    def address(self) -> str:
        """With the token: whoever has it sees the root's studies."""
        return f"http://{HOST}:{self.server_port}/?token={self.token}"

    @property
    def names(self) -> list[str]:
        """The studies of the root, the one to be shown at first in front."""
        return sorted(study_names(self.store), key=lambda name: (name != self.first, name))

    def study(self, name: str) -> LiveStudy | None:
        """A study that the root has."""
        if name not in self._studies and name in study_names(self.store):
            self._studies.setdefault(name, LiveStudy(self.store, name))
        return self._studies.get(name)


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer
    server_version = "grokstudy"
    sys_version = ""

    def do_GET(self) -> None:  # the name that http.server asks for
        url = urlsplit(self.path)
        words = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.headers.get("Host") not in {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}:
            self._send(421, "this server answers on loopback only")
        elif url.path == "/" and self._is_token(words.get("token", "")):
            cookie = f"{self._name}={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(303, "", headers={"Location": "/", "Set-Cookie": cookie})
        elif not self._is_token(self._known()):
            self._send(403, "open the address that grokstudy serve printed, with its token")
        else:
            self._answer(url.path, words.get("study", ""))

    def _answer(self, path: str, study: str) -> None:
        from grokstudy.analysis.report.html import library, render

        live = self.server.study(study) if path in ("/state", "/figures") else None
        try:
            if path == "/":
                self._send(200, render("live.html", [], studies=self.server.names), "text/html; charset=utf-8")
            elif path == "/vega.js":
                self._send(200, library(), "text/javascript; charset=utf-8")
            elif path == "/live.js":
                self._send(200, render("live.js", []), "text/javascript; charset=utf-8")
            elif live is None:
                self._send(404, f"{study or path}: there is none here")
            elif path == "/state":
                self._send(200, json.dumps(live.state(*self.server.driver())), "application/json")
            else:
                self._send(200, json.dumps(live.figures()), "application/json")
        except (ValueError, OSError) as error:  # a file that is being written, or is damaged: the page says so
            self._send(503, str(error))

    def _is_token(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self.server.token.encode())

    @property
    def _name(self) -> str:
        return f"grokstudy_{self.server.server_port}"

    def _known(self) -> str:
        """The token of the cookie; cookies are shared between ports, so it has this server's name."""
        cookie: SimpleCookie = SimpleCookie(self.headers.get("Cookie", ""))
        return cookie[self._name].value if self._name in cookie else ""

    def _send(
        self, code: int, text: str, kind: str = "text/plain; charset=utf-8", headers: Mapping[str, str] | None = None
    ) -> None:
        body = text.encode()
        self.send_response(code)
        known = {**SAFE, "Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in {**known, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of requests: their addresses may hold the token."""
