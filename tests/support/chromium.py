"""A headless Chromium that a test drives through its DevTools protocol, over two pipes: no port, no driver, no library."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next(filter(None, map(shutil.which, NAMES)), None)
# `--no-sandbox`, because Chromium refuses to start as root with it; the pages are ours.
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe")


class Browser:
    """One tab. `complaints` lists what its console and its exceptions have said."""

    def __init__(self, profile):
        theirs_in, mine_out = os.pipe()
        mine_in, theirs_out = os.pipe()
        shell = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'  # Chromium reads from 3 and writes to 4
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "browser", FOUND, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._write, self._read = open(mine_out, "wb", buffering=0), open(mine_in, "rb", buffering=0)  # noqa: SIM115
        self._ids, self._rest, self._events, self.complaints = itertools.count(1), b"", [], []
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, path, width=1300, height=900, dark=False):
        """Loads a file and waits for its load event."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self._call("Page.navigate", url=f"file://{path}")
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def run(self, code):
        """The value of a JavaScript expression, as plain data."""
        answer = self._call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key, element):
        """Gives an element the focus and presses a key there, as a person would."""
        self.run(f"{element}.focus()")
        code = {"ArrowRight": 39, "ArrowLeft": 37}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path):
        """Writes what the window shows, as a PNG file."""
        found = self._call("Page.captureScreenshot", format="png")
        with open(path, "wb") as file:
            file.write(base64.b64decode(found["data"]))

    def close(self):
        """Ends the browser."""
        self._call("Browser.close")
        self._process.wait()
        self._write.close()
        self._read.close()

    def _call(self, method, **params):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self):
        while b"\0" not in self._rest:
            part = self._read.read(1 << 16)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        method = message.get("method", "")
        self._events.append(method)
        if (
            method == "Runtime.exceptionThrown"
            or (method == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning", "assert"))
            or (method == "Log.entryAdded" and message["params"]["entry"]["level"] in ("error", "warning"))
        ):
            self.complaints.append(message["params"])
        return message
