"""Every view, in both themes and on small, usual and huge screens: audited, within its window, and kept as a picture.

`views.py FILE` takes the host's name for what is to be looked at from a JSON file: {name: address of the view}.
"""

import json
import sys

from chrome import Keys, case, check, until

WIDTHS = {320: 640, 1440: 900, 3840: 2160}
THEMES = ("light", "dark")

# What the audit and the console must tell, so that their silence means something.
BREAK = """
  const image = document.createElement("img");
  image.src = "/page/favicon.svg";
  const faint = document.createElement("p");
  faint.textContent = "hardly to be read";
  faint.style.color = "#999";
  faint.style.background = "#aaa";
  const foreign = document.createElement("script");
  foreign.textContent = "window.hit = 3";
  document.querySelector("main").append(image, faint, foreign);
  console.error("on purpose");
"""


def look(page, name, whole=True):
    """What is wrong with the view that is open, and its pictures."""
    wrong = []
    for theme in THEMES:
        page.theme(theme)
        for width, height in WIDTHS.items():
            page.size(width, height)
            page.settle()
            where = f"{name}-{theme}-{width}"
            wrong += [f"{where}: {one}" for one in page.axe()]
            if (over := page.overflow()) > 0:
                wrong.append(f"{where}: {over} px wider than its window")
            page.shoot(where, whole, width, height)
    page.theme("light")
    page.size(1440, 900)
    return wrong


def menu(page):
    """On a small screen the views are behind a button."""
    width = min(WIDTHS)
    page.size(width, WIDTHS[width])
    page.go("#/")
    page.press("Menu", ".bar")
    page.has("nav", "Configuration")
    wrong = []
    for theme in THEMES:
        page.theme(theme)
        page.settle()
        wrong += [f"menu-{theme}: {one}" for one in page.axe()]
        page.shoot(f"menu-{theme}-{width}", False)
    page.theme("light")
    page.size(1440, 900)
    return wrong


def play(page):
    views = json.loads(open(sys.argv[1], encoding="utf-8").read())
    page.open()
    page.live()
    # The card stands on what happened before, which the page is told as well.
    page.has(".feed", "billing@1.service", "waits for a yes")
    wrong = []
    for name, view in views.items():
        page.go(view)
        if name == "configuration":
            # All tables are alike, and the audit of thousands of cells takes a minute.
            page.type(".filters input", "worker.orders.")
            until("one table is left", lambda: len(page.all("main table")) == 1)
        wrong += look(page, name)
    wrong += menu(page)
    page.go("#/worker/orders")
    page.press("Recover …")
    page.has("dialog h2", "Sign in")
    wrong += look(page, "sign-in", whole=False)
    page.sign_in("medic", "test")
    page.has("dialog .preview", "orders@1.service")
    wrong += look(page, "recover", whole=False)
    page.key(Keys.ESCAPE)
    page.dialog_gone()
    check(not wrong, "\n".join(wrong))

    check(not page.complaints(), f"the console is not empty: {page.said}")
    page.script(BREAK)
    found = " ".join(page.axe())
    check("image-alt" in found and "color-contrast" in found, f"the audit is blind: {found!r}")
    said = " ".join(page.complaints())
    check("on purpose" in said and "policy: script-src" in said, f"the console is deaf: {said!r}")
    check(page.script("return window.hit ?? null") is None, "a foreign script ran")
    page.said.clear()
    return {"views": len(views) + 2, "looks": (len(views) + 2) * len(WIDTHS) * len(THEMES)}


case("views", play)
