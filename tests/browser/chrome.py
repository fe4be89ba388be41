"""A headless Chromium on the operator's page of the host that it runs on, and what every case asks of it.

A case is a script beside this one. It prints what it saw as one line of JSON; one that fails leaves a screenshot, what
stood on the page and what the browser had to say. It runs on a throwaway host, as root, without a network.
"""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

__all__ = ["Keys", "Page", "Select", "api", "case", "check", "host", "kill", "main_pid", "until"]

ADDRESS = "http://127.0.0.1:10119/"
HERE = Path(__file__).resolve().parent
SHOTS = HERE / "shots"
AXE = HERE / "axe.min.js"

# For what takes milliseconds, on a machine that has other work.
LIMIT_SECONDS = 20
LOOK_SECONDS = 0.02

# Waits for two frames: what the last change made is laid out and painted then.
SETTLED = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"

# A violation of the policy is also a line of the console; its event says more.
WATCH_POLICY = """
  addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Failed(Exception):
    """Something is not as it should be; the text says what."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def until(what, look, limit=LIMIT_SECONDS):
    """Waits until `look` returns something that is true, and returns it."""
    end = time.monotonic() + limit
    while True:
        try:
            if found := look():
                return found
            seen = found
        except (StaleElementReferenceException, OSError) as error:
            # The page was changed while it was read, or the daemon is away.
            seen = error
        if time.monotonic() > end:
            raise Failed(f"not within {limit} s: {what}; seen last: {seen!r}")
        time.sleep(LOOK_SECONDS)


def host(*command):
    """Runs a command on the host."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=60)
    check(done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stdout}")
    return done.stdout.strip()


def main_pid(unit):
    return int(host("systemctl", "show", "--value", "--property=MainPID", unit))


def kill(unit):
    """`kill -9` of its main process; the wall clock's microseconds just before."""
    pid = main_pid(unit)
    check(pid > 1, f"{unit} does not run")
    at = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
    os.kill(pid, 9)
    return at


def api(path, body=None, login=None):
    """What the API answers; `body` is posted, in the name of `login`."""
    request = urllib.request.Request(f"{ADDRESS}api/v1{path}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


class Page:
    address = ADDRESS

    def __init__(self, width=1440, height=900):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in (
            "--headless=new",
            # It is root on a host of its own, which knows no one else.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            # Nothing but the page is asked for.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--no-first-run",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.driver.set_page_load_timeout(LIMIT_SECONDS)
        self.driver.set_script_timeout(LIMIT_SECONDS)
        self.said = []
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH_POLICY)
        self.size(width, height)
        self.theme("light")

    # Where we are and how it looks.

    def cdp(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def size(self, width, height):
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def theme(self, theme):
        """Without movement, so that nothing is looked at in between."""
        features = [
            {"name": "prefers-color-scheme", "value": theme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def settle(self):
        self.driver.execute_async_script(SETTLED)

    def open(self, view=""):
        """As a reader does who types the address: everything is loaded anew."""
        self.driver.get("about:blank")
        self.driver.get(ADDRESS + view)
        self.shown()

    def go(self, view):
        """As a link does, without loading anything."""
        self.script("location.hash = arguments[0]", view)
        self.shown(view)

    def shown(self, view=None):
        """Waits until the view is there and everything that it asked for, too."""
        ready = """
          const main = document.querySelector("main");
          return main.className.startsWith("view-") && main.querySelector("h1") !== null &&
            ![...main.querySelectorAll("[data-key=reading]")].length &&
            (arguments[0] === null || location.hash === arguments[0]);
        """
        until(f"the view {view or ''} is read", lambda: self.script(ready, view))
        self.settle()

    def fetched(self):
        """Waits until the page has all its files, also those of views that nobody has opened."""
        there = """
          const got = performance.getEntriesByType("resource").map((one) => one.name.split("/").at(-1));
          return ["worker", "incident", "incidents", "history", "learned", "alerts", "configuration", "plot"]
            .every((name) => got.includes(`${name}.js`));
        """
        until("all views are fetched", lambda: self.script(there))

    def live(self):
        until("the page is live", lambda: self.text("#connection") == "live")

    # What is on it.

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return until(f"{selector} is there", lambda: self.all(selector))[0]

    def text(self, selector):
        return self.script(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText).join('\\n')", selector
        )

    def has(self, selector, *words):
        """Waits until it says so; what it says."""

        def look():
            text = self.text(selector)
            return text if all(word in text for word in words) else None

        try:
            return until(f"{selector} says {words}", look)
        except Failed as error:
            raise Failed(f"{error}; it says: {self.text(selector)!r}") from error

    def button(self, words, within="main"):
        def look():
            named = [one for one in self.all(f"{within} button") if one.text.strip().startswith(words)]
            return named[:1]

        return until(f"there is a button {words!r} in {within}", look)[0]

    def press(self, words, within="main"):
        """A button may be made anew while we reach for it."""

        def look():
            button = self.button(words, within)
            self.script("arguments[0].scrollIntoView({ block: 'center' })", button)
            button.click()
            return True

        until(f"{words!r} can be pressed", look)

    def type(self, selector, text):
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def key(self, *keys):
        """To whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        return self.script("return document.activeElement.innerText?.trim() || document.activeElement.id")

    def sign_in(self, user, password):
        self.type("#user", user)
        self.type("#password", password)
        self.key(Keys.ENTER)

    def dialog_gone(self):
        until("the dialog is closed", lambda: not self.all("dialog"))

    # What must not be.

    def complaints(self):
        """Errors of the console and violations of the policy.

        Chromium itself writes a line, of source `network`, for each request that is refused or gets no answer. What the
        page does then is what cases look at, so those lines about the API are left out; a file of the page that
        is missing stays one.
        """
        for line in self.driver.get_log("browser"):
            if line["source"] == "network" and f"{ADDRESS}api/" in line["message"]:
                continue
            self.said.append(f"{line['level']} {line['source']}: {line['message']}")
        return self.said

    def axe(self):
        """What an audit finds: each with the rule, and where."""
        if not self.script("return typeof axe === 'object'"):
            # Through the debugger: the page's own policy would let no foreign script in.
            self.cdp("Runtime.evaluate", expression=AXE.read_text())
        return self.driver.execute_async_script(
            """
            const done = arguments[0];
            axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
              done(violations.map(({ id, nodes }) => {
                const where = nodes.slice(0, 3).map((one) => `${one.html.slice(0, 160)} ${one.failureSummary}`);
                return `${id}: ${where.join("; ")}`;
              })));
            """
        )

    def overflow(self):
        """Pixels by which the page is wider than its window."""
        return self.script("return document.documentElement.scrollWidth - innerWidth")

    def shoot(self, name, whole=True, width=1440, height=900):
        """A picture of the window, or of all that there is."""
        SHOTS.mkdir(exist_ok=True)
        if whole:
            # More than this nobody looks at.
            self.size(width, min(max(self.script("return document.documentElement.scrollHeight"), height), 8000))
            self.settle()
        path = SHOTS / f"{name}.png"
        check(self.driver.save_screenshot(str(path)), f"no picture {path}")
        if whole:
            self.size(width, height)


def case(name, play):
    """Plays one case, and ends the process."""
    page = Page()
    try:
        seen = play(page)
        said = page.complaints()
        check(not said, f"the console is not empty: {said}")
        print(json.dumps(seen))
        status = 0
    except (Failed, WebDriverException) as error:
        status = 1
        print(f"{name}: {error}", file=sys.stderr)
        last_words(page, name)
    finally:
        page.driver.quit()
    sys.exit(status)


def last_words(page, name):
    try:
        print(page.text("body"), *page.complaints(), sep="\n", file=sys.stderr)
        page.shoot(f"failed-{name}", whole=False)
    except WebDriverException as error:
        print(f"and the browser is gone: {error}", file=sys.stderr)
