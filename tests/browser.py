"""A real browser for tests: headless Chromium, driven by mouse, keys and files over DevTools."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.sync.client import ClientConnection, connect

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# It draws without a screen, and asks for nothing of its own accord.
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
SWITCHES = (
    *QUIET,
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    # Nothing beyond this machine is asked for, not even by the browser itself.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """One tab of a browser. What its console said is in `log`."""

    def __init__(self, connection: ClientConnection, downloads: Path) -> None:
        self._connection = connection
        self._count = 0
        self.log: list[str] = []
        self.downloads = downloads
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result."""
        self._count += 1
        self._connection.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=60))
            if message.get("id") == self._count:
                assert "error" not in message, message
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Log.entryAdded":
            self.log.append(parameters["entry"]["text"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.log.append(parameters["exceptionDetails"]["exception"]["description"])

    def open(self, address: str) -> None:
        """Opens an address afresh, also one that differs from the current one after the # alone."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """Runs a script in the page and returns its value."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 20) -> Any:
        """Waits until a script gives something true, and returns that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):  # the page may be between two documents
                # An element cannot be sent; that it is there can.
                if value := self.run(f"(found => found instanceof Node || found)({condition})"):
                    return value
            time.sleep(0.03)
        text = self.run("document.body.innerText")
        raise AssertionError(f"never true: {condition}\n{self.log}\n{text}")

    def text(self, selector: str) -> str:
        """Returns what is to be read in an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Scrolls to an element and clicks into its middle."""
        self.press_mouse(*self.middle(selector))

    def middle(self, selector: str) -> tuple[float, float]:
        """Scrolls to an element and returns where its middle is."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        return x, y

    def press_mouse(self, *places: float) -> None:
        """Presses the mouse at the first place (x, y), moves over the others, and releases it at the last."""
        points = list(zip(places[::2], places[1::2], strict=True))
        for kind, (x, y) in [
            ("mousePressed", points[0]),
            *(("mouseMoved", p) for p in points[1:]),
            ("mouseReleased", points[-1]),
        ]:
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """Replaces what is in a field by typing."""
        self.click(selector)
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        if text:
            self.send("Input.insertText", text=text)
        else:
            self.press("Backspace", 8)

    def choose(self, selector: str, value: str) -> None:
        """Chooses an option, as the list of a select does that no protocol can click into."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            f"e.focus(); e.value = {json.dumps(value)};"
            "for (const n of ['input', 'change']) e.dispatchEvent(new Event(n, {bubbles: true})) })()"
        )

    def press(self, key: str, code: int = 0, shift: bool = False) -> None:
        """Presses a key."""
        common = {"key": key, "windowsVirtualKeyCode": code or KEYS[key], "modifiers": 8 if shift else 0}
        text = {"Enter": "\r", " ": " "}.get(key)
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def give_file(self, selector: str, path: Path) -> None:
        """Chooses a file in a file field."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drop_file(self, selector: str, path: Path) -> None:
        """Drags a file over an element and drops it."""
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.send("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def downloaded(self, name: str) -> str:
        """Waits for a download and returns its content."""
        end = time.monotonic() + 20
        while not (self.downloads / name).is_file():
            assert time.monotonic() < end, sorted(self.downloads.iterdir())
            time.sleep(0.05)
        return (self.downloads / name).read_text("utf-8")

    def look(self, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Sets the size of the window, in pixels, and whether the person likes it dark."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)

    def photograph(self, path: Path, whole: bool = False) -> None:
        """Writes a picture of what is to be seen, or of the whole page, as PNG."""
        picture = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Starts a browser with an empty profile in a folder; skips the test if there is none on this machine."""
    if PROGRAM is None:
        pytest.skip("no Chromium on this machine")
    profile, downloads = folder / "profile", folder / "downloads"
    downloads.mkdir(parents=True)
    with (folder / "browser.log").open("w") as log:
        process = subprocess.Popen(
            [PROGRAM, *SWITCHES, f"--user-data-dir={profile}", "about:blank"],
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        with connect(_page_address(profile, process), max_size=None, compression=None) as connection:
            yield Browser(connection, downloads)
    finally:
        process.terminate()
        process.wait(30)


def _page_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    found = profile / "DevToolsActivePort"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, IndexError, StopIteration, requests.RequestException):
            port = found.read_text().split()[0]
            targets = requests.get(f"http://127.0.0.1:{port}/json/list", timeout=5).json()
            return str(next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page"))
        time.sleep(0.05)
    raise AssertionError("the browser did not start")
