"""A headless Chromium spoken to over its DevTools pipe: no port, no driver, standard library only.

Enough of the protocol to open a local page, to hear what it complains about and asks for, to look
at it and to print it. Every wait has a bound.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ANSWER_S: Final = 60.0
STOP_S: Final = 10.0
READ_BYTES: Final = 1 << 16

# The browser listens on descriptor 3 and answers on 4; a parent cannot choose a child's numbers.
LAUNCHER: Final = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)
FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # the tests of a container run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-proxy-server",
    "--password-store=basic",
    "--remote-debugging-pipe",
)


class BrowserError(Exception):
    """The browser refused a command, went away, or did not answer in time."""


@dataclass(slots=True)
class Page:
    """A tab, and everything that it complained about or asked for since it was opened."""

    pipe: DevToolsPipe
    session: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(
        self,
        file: Path,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        medium: str = "",
        language: str = "en-GB",
        scripts: bool = True,
    ) -> None:
        """Load a file at a window size, in a colour scheme and for a reader's language."""
        self.complaints.clear()
        self.requests.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=medium, features=[scheme])
        agent = self.ask("Browser.getVersion")["userAgent"]
        self.ask("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        answer = self.ask("Page.navigate", url=file.resolve().as_uri())
        if "errorText" in answer:
            raise BrowserError(f"{file}: {answer['errorText']}")
        self.pipe.wait_for(self, "Page.loadEventFired")

    def resize(self, width: int, height: int) -> None:
        """Give the window another size, as a phone below 600 px."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression, as JSON would carry it."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        value: object = answer["result"].get("value")
        return value

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element."""
        middle = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        assert isinstance(middle, list)
        x, y = middle
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, file: Path) -> None:
        """The whole page, top to bottom, as PNG."""
        answer = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def print_pdf(self, file: Path) -> None:
        """The page as a printer would get it."""
        answer = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        file.write_bytes(base64.b64decode(answer["data"]))

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """One command of the protocol to this tab, and its answer."""
        return self.pipe.ask(method, parameters, self)

    def hear(self, event: dict[str, Any]) -> None:
        """Keep what a test wants to know of the tab's events."""
        method, parameters = event["method"], event["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{parameters['type']}: {parameters['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))


class DevToolsPipe:
    """Commands out, answers and events in, each a JSON text that ends with a zero byte."""

    def __init__(self, writing: int, reading: int) -> None:
        self._writing = writing
        self._reading = reading
        self._rest = b""
        self._messages: deque[dict[str, Any]] = deque()
        self._last_id = 0

    def ask(
        self, method: str, parameters: dict[str, object], page: Page | None = None
    ) -> dict[str, Any]:
        """Send a command and return its result; the page hears the events in between."""
        self._last_id += 1
        message: dict[str, object] = {"id": self._last_id, "method": method, "params": parameters}
        if page is not None:
            message["sessionId"] = page.session
        unsent = json.dumps(message).encode() + b"\0"
        while unsent:
            unsent = unsent[os.write(self._writing, unsent) :]
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self._next(method, deadline)
            if answer.get("id") == self._last_id:
                break
            _tell(page, answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, page: Page, event: str) -> None:
        """Return once the page fired an event."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            message = self._next(event, deadline)
            _tell(page, message)
            if message.get("method") == event and message.get("sessionId") == page.session:
                return

    def _next(self, wanted: str, deadline: float) -> dict[str, Any]:
        """The next message, whatever it is."""
        while not self._messages:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._reading], [], [], left)[0]:
                raise BrowserError(f"no answer to {wanted} within {ANSWER_S:.0f} s")
            piece = os.read(self._reading, READ_BYTES)
            if not piece:
                raise BrowserError(f"the browser went away during {wanted}")
            *whole, self._rest = (self._rest + piece).split(b"\0")
            self._messages.extend(json.loads(text) for text in whole)
        return self._messages.popleft()


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    return found


@contextmanager
def open_page(profile: Path) -> Iterator[Page]:
    """A tab of a browser of its own, which ends with the block."""
    program = chromium()
    profile.mkdir(parents=True, exist_ok=True)
    to_browser, from_browser = os.pipe(), os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", LAUNCHER, str(to_browser[0]), str(from_browser[1])),
            *(program, *FLAGS, f"--user-data-dir={profile}"),
        ],
        pass_fds=(to_browser[0], from_browser[1]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        pipe = DevToolsPipe(to_browser[1], from_browser[0])
        target = pipe.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = pipe.ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        yield Page(pipe, attached["sessionId"])
    finally:
        os.close(to_browser[1])  # a browser whose pipe closes ends by itself
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
        os.close(from_browser[0])


def _tell(page: Page | None, message: dict[str, Any]) -> None:
    """Hand an event to the tab that it comes from."""
    if page is not None and "method" in message and message.get("sessionId") == page.session:
        page.hear(message)
