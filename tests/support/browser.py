"""Drives a headless Chromium, where there is one: opens pages, clicks, looks at what is shown.

Speaks the Chrome DevTools Protocol over a pipe (`--remote-debugging-pipe`), so that no package is
needed: JSON messages that end in a null character, commands on descriptor 3 and answers on 4.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Browser", "chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
#: Seconds after which a browser that does not answer is ended.
_PATIENCE = 60.0


def chromium() -> str | None:
    """Returns the path of a Chromium or Chrome on this machine; None if there is none."""
    found = (shutil.which(name) for name in (os.environ.get("CHROMIUM") or "", *_NAMES) if name)
    return next(filter(None, found), None)


class Browser:
    """One page of a browser; a context that ends it.

    Attributes:
        requests: addresses that the page has asked for.
        errors: what it has complained of: exceptions, what its policy has refused.
    """

    def __init__(self, program: str) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        ours, commands = os.pipe()
        answers, theirs = os.pipe()
        self._process = _start(program, self._folder.name, ours, theirs)
        os.close(ours)
        os.close(theirs)
        self._commands, self._answers = os.fdopen(commands, "wb"), os.fdopen(answers, "rb")
        self._number, self._session, self._loaded = 0, "", False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._commands.close()
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._folder.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Returns the result of a command of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        with self._limited():
            while (answer := self._receive()).get("id") != self._number:
                pass
        assert "error" not in answer, answer["error"]
        result: dict[str, Any] = answer["result"]
        return result

    @contextlib.contextmanager
    def _limited(self) -> Iterator[None]:
        """Ends a browser that does not answer, so that reading its answer ends too."""
        timer = threading.Timer(_PATIENCE, self._process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _receive(self) -> dict[str, Any]:
        parts = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            parts += byte
        message: dict[str, Any] = json.loads(parts)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, parameters: Mapping[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(
        self, page: Path, *, width: int = 1280, height: int = 900, scheme: str = "light"
    ) -> None:
        """Opens a file in a window of that size; narrow ones are a phone's."""
        phone = width < 600
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self._loaded = False
        self.call("Page.navigate", url=page.as_uri())
        with self._limited():
            while not self._loaded:
                self._receive()

    def value(self, expression: str) -> Any:
        """Returns the value of an expression of JavaScript in the page."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def click(self, selector: str) -> None:
        """Scrolls to the first element of a selector, and clicks into its middle with the mouse."""
        place = self.value(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            "one.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = one.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def press_escape(self) -> None:
        """Presses the key Escape."""
        key = {"key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **key)

    def screenshot(self, target: Path, *, whole: bool = False) -> None:
        """Saves what is shown as a PNG, or the whole page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(shot["data"]))


def _start(program: str, folder: str, commands: int, answers: int) -> subprocess.Popen[bytes]:
    flags = [
        *("--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", f"--user-data-dir={folder}", "--hide-scrollbars"),
        # Its own sandbox needs user namespaces, which containers and root have not.
        *("--no-sandbox", "--disable-dev-shm-usage"),
    ]
    # The browser looks for the pipes on descriptors 3 and 4, in whatever order they were made.
    line = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
    return subprocess.Popen(
        ["bash", "-c", line, "bash", str(commands), str(answers), program, *flags],
        pass_fds=(commands, answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
