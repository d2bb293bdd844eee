"""A real browser without a window, by the WebDriver protocol of the chromedriver program."""

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing but this machine
)

# Elements that reach beyond the screen, or beyond what holds them.
TOO_WIDE = """
const tooWide = [...document.querySelectorAll('html, body *:not(svg *)')].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 0.5
    || (getComputedStyle(e).display != 'inline' && e.scrollWidth > e.clientWidth + 1));
return tooWide.map(e => `${e.tagName} ${e.className}: ${e.textContent.trim().slice(0, 60)}`);
"""


class Page:
    """What a page looks like to who opened it."""

    def __init__(self, call):
        self._call = call

    def open(self, where):
        """Open a file, or an address."""
        self._call("POST", "url", {"url": where if isinstance(where, str) else where.as_uri()})

    def run(self, script, *arguments):
        """What a script returns, or the promise that it returns comes to."""
        return self._call("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def type(self, selector, text):
        """Type into an element, as at a keyboard; into an input for files, their paths."""
        self._call("POST", f"element/{self._find(selector)}/value", {"text": text})

    def click(self, selector):
        self._call("POST", f"element/{self._find(selector)}/click", {})

    def text(self, selector):
        """What an element shows."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait_for(self, condition, *arguments, seconds=30.0):
        """Wait until a script's expression is true, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(f"return {condition}", *arguments)):
            shown = self.text("body") if time.monotonic() > deadline else None
            assert shown is None, f"{condition} {arguments} is not true of: {shown}"
            time.sleep(0.05)
        return value

    def _find(self, selector):
        found = self._call("POST", "element", {"using": "css selector", "value": selector})
        return next(iter(found.values()))

    def emulate(self, *, width, height, dark):
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def screenshot(self):
        """A PNG of the whole page."""
        options = {"captureBeyondViewport": True, "format": "png"}
        return base64.b64decode(self._devtools("Page.captureScreenshot", options)["data"])

    def messages(self):
        """Warnings and errors of the console; each is told once."""
        return [
            entry["message"]
            for entry in self._call("POST", "se/log", {"type": "browser"})
            if entry["level"] in ("WARNING", "SEVERE")
        ]

    def network(self):
        """Addresses that were asked for, and those that failed."""
        asked, failed = [], []
        for entry in self._call("POST", "se/log", {"type": "performance"}):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                asked.append(event["params"]["request"]["url"])
            elif event["method"] == "Network.loadingFailed":
                failed.append(event["params"]["errorText"])
        return asked, failed

    def _devtools(self, command, parameters):
        return self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})


@contextlib.contextmanager
def open_browser(profile, *arguments):
    """Start a browser with a new profile; skip the test where there is none."""
    driver = shutil.which("chromedriver")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and browser):
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    log = profile / "driver.log"
    with open(log, "w") as output:
        process = subprocess.Popen([driver, "--port=0"], stdout=output, stderr=output)
    try:
        base = f"http://127.0.0.1:{_port(process, log)}"
        options = {
            "binary": browser,
            "args": [*_ARGUMENTS, f"--user-data-dir={profile / 'profile'}", *arguments],
        }
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        started = _request(
            "POST", f"{base}/session", {"capabilities": {"alwaysMatch": capabilities}}
        )
        session = f"{base}/session/{started['sessionId']}"
        try:
            page = Page(lambda method, path, body: _request(method, f"{session}/{path}", body))
            page._call("POST", "url", {"url": "about:blank"})
            page.network(), page.messages()  # what the browser's own first page did
            yield page
        finally:
            _request("DELETE", session)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _port(process, log):
    """The port that the driver chose, which it prints."""
    for _ in range(300):
        words = log.read_text().replace(".", " ").split()
        if "port" in words and "successfully" in words:
            return int(words[len(words) - 1 - words[::-1].index("port") + 1])
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"chromedriver does not start: {log.read_text()}")


def _request(method, url, body=None):
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    request.get_method = lambda: method
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(error.read().decode()) from None
