"""A headless Chromium, driven over --remote-debugging-pipe: messages are JSON, each ended by a NUL, on descriptors 3 and 4."""
import base64
import fcntl
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

PROGRAM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed (deploy/packages test)")
PATIENCE = 60  # seconds: a machine that is busy has longer than it needs

KEYS = {"Tab": ("Tab", 9, ""), "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " ")}


class BrowserError(Exception):
    pass


class Browser:
    """One page. with Browser() as page: page.open(url)"""

    def __init__(self, options=()):
        self.profile = pathlib.Path(tempfile.mkdtemp(prefix="weir-chromium."))
        self.number, self.session, self.buffer = 0, None, b""
        self.complaints, self.requests, self.dialogs, self.loads = [], [], [], 0
        to_read, self.to = os.pipe()
        self.by, by_write = os.pipe()
        words = [PROGRAM, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "--no-first-run", "--disable-gpu",
                 "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio",
                 "--disable-default-apps", "--no-default-browser-check", "--hide-scrollbars", "--password-store=basic", "--use-mock-keychain",
                 "--disable-features=Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider", *options, "about:blank"]
        # 3 and 4 are taken here, mostly, so a shell puts them in place (dash knows no descriptor above 9). A group of its own: all of it ends.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_read, by_write)]
        self.process = subprocess.Popen(["bash", "-c", 'exec 3<&"$1" 4>&"$2" && shift 2 && exec "$@"', "bash", *map(str, ends), *words], pass_fds=ends,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.profile / "log", "wb"), start_new_session=True)
        for end in (to_read, by_write, *ends):
            os.close(end)
        try:
            target = next(t for t in self.command("Target.getTargets")["targetInfos"] if t["type"] == "page")
            self.session = self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.command(f"{domain}.enable")
            self.screen()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.to)
        os.close(self.by)
        shutil.rmtree(self.profile, ignore_errors=True)

    # --- the pipe ---

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            if not select.select([self.by], [], [], max(0, deadline - time.monotonic()))[0]:
                raise BrowserError("Chromium says nothing")
            got = os.read(self.by, 1 << 20)
            if not got:
                raise BrowserError("Chromium ended: " + (self.profile / "log").read_text(errors="replace")[-2000:])
            self.buffer += got
        one, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(one)

    def note(self, event):
        """What happened by itself. A dialog would stop the page: it is closed, and remembered."""
        method, params = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self.loads += 1
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self.post("Page.handleJavaScriptDialog", accept=False)
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"] + str(params["exceptionDetails"].get("exception", {}).get("description", "")))

    def post(self, method, **params):
        self.number += 1
        asked = {"id": self.number, "method": method, "params": params}
        if self.session:
            asked["sessionId"] = self.session
        left = json.dumps(asked).encode() + b"\0"
        while left:
            left = left[os.write(self.to, left):]
        return self.number

    def command(self, method, **params):
        number, deadline = self.post(method, **params), time.monotonic() + PATIENCE
        while True:
            event = self.receive(deadline)
            if event.get("id") == number:
                if "error" in event:
                    raise BrowserError(f"{method}: {event['error']['message']}")
                return event["result"]
            self.note(event)

    # --- what tests do ---

    def screen(self, width=1280, height=900, dark=False, scale=1):
        """Narrower than 700 is a phone."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 700)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def scripts(self, wanted):
        """Whether pages that are opened from now on may run theirs."""
        self.command("Emulation.setScriptExecutionDisabled", value=not wanted)

    def loaded(self, act):
        """What act does leads to another page, which is here when this returns."""
        before, deadline = self.loads, time.monotonic() + PATIENCE
        act()
        while self.loads == before:
            self.note(self.receive(deadline))

    def open(self, url):
        def go():
            error = self.command("Page.navigate", url=url).get("errorText")
            if error:
                raise BrowserError(f"{url}: {error}")
        self.loaded(go)

    def evaluate(self, expression):
        """The value of a JavaScript expression (also of a promise). Works with scripts of pages switched off, too."""
        done = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise BrowserError(done["exceptionDetails"].get("exception", {}).get("description") or done["exceptionDetails"]["text"])
        return done["result"].get("value")

    def wait(self, expression, what=None):
        """Until the expression is true; across loads of pages."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                value = self.evaluate(expression)
                if value:
                    return value
            except BrowserError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise BrowserError(f"never came: {what or expression}; the page says: {self.text()[:2000]}")
            time.sleep(0.05)

    def text(self):
        return self.evaluate("document.body.innerText")

    def dom(self):
        return self.evaluate("document.documentElement.outerHTML")

    def click(self, selector):
        """As a mouse does, so what lies over it would get it."""
        place = self.evaluate(f"""(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null; e.scrollIntoView({{block: "center"}});
            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] }})()""")
        if place is None:
            raise BrowserError(f"nothing here is {selector}; the page says: {self.text()[:2000]}")
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def focus(self, selector):
        if not self.evaluate(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e && e.focus(); return !!e }})()"):
            raise BrowserError(f"nothing here is {selector}")

    def type(self, text):
        """Into what has the focus."""
        self.command("Input.insertText", text=text)

    def fill(self, selector, text):
        self.focus(selector)
        self.type(text)

    def key(self, name, shift=False):
        """Tab, Enter, Escape or a blank."""
        code, number, text = KEYS[name]
        rest = {"key": name, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 if shift else 0}
        self.command("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **rest, **({"text": text} if text else {}))
        self.command("Input.dispatchKeyEvent", type="keyUp", **rest)

    def picture(self, path, whole=True):
        """PNG of the whole page, or of what the screen shows of it."""
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        pathlib.Path(path).write_bytes(base64.b64decode(shot["data"]))

    def wider_than_screen(self):
        """Whether one has to scroll sideways."""
        return self.evaluate("document.documentElement.scrollWidth > window.innerWidth")
