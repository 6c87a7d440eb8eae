"""A headless Chromium for tests, spoken to over two pipes by its DevTools protocol: JSON, NUL after each message.

Python's own library is enough. Pages are shown as a person sees them: on a desktop or a phone, light or dark, on paper.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from base64 import b64decode
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
_SECONDS = 60


def find_chromium():
    """Return the path of a Chromium, None if there is none; CHROMIUM names one."""
    return next(filter(None, map(shutil.which, (os.environ.get("CHROMIUM", ""), *NAMES))), None)


class Page:
    """A page of the browser: `errors` are what its console complained of, `asked` the addresses it asked for."""

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self._number = 0
        self._session = None
        self.errors = []
        self.asked = []
        self._loaded = False

    def call(self, method, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._send(message)
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        parameters = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                entry = parameters["entry"]
                if entry["level"] in ("error", "warning"):
                    self.errors.append(entry["text"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(parameters["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.asked.append(parameters["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True

    def attach(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def show(self, path, *, width=1200, height=900, dark=False, phone=False):
        """Open a file in a window of this size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self._loaded = False
        self.call("Page.navigate", url=f"file://{path}")
        while not self._loaded:
            self._note(self._receive())

    def run(self, script):
        """Return the value of an expression of JavaScript."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key):
        """Press and release a key, as by hand."""
        code = {"ArrowLeft": 37, "ArrowRight": 39, "Tab": 9, "Enter": 13}[key]
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path, *, clip=None):
        """Write a picture of the whole page, or of a part {x, y, width, height}, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {**(clip or {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}), "scale": 1}
        made = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(b64decode(made["data"]))

    def print(self, path):
        """Write the page as PDF on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False, "displayHeaderFooter": False}
        path.write_bytes(b64decode(self.call("Page.printToPDF", **paper)["data"]))


@contextmanager
def chromium(folder):
    """Give a page of a fresh browser that keeps what it keeps in `folder`."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    flags = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank",
    )  # fmt: skip
    with_pipes = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out} 2>/dev/null'
    process = subprocess.Popen(  # noqa: S603
        ["/bin/bash", "-c", with_pipes, find_chromium(), *flags],
        pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    waiting = bytearray()

    def send(message):
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(ours_out, rest) :]

    def receive():
        until = time.monotonic() + _SECONDS
        while b"\0" not in waiting:
            ready, _, _ = select.select([ours_in], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"the browser did not answer for {_SECONDS} s"
            read = os.read(ours_in, 1 << 20)
            assert read, "the browser has ended"
            waiting.extend(read)
        message, _, rest = bytes(waiting).partition(b"\0")
        waiting[:] = rest
        return json.loads(message)

    try:
        page = Page(send, receive)
        page.attach()
        yield page
    finally:
        os.close(ours_out)
        os.close(ours_in)
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
