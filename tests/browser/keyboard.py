"""With the keyboard alone: from the address to a recovery, and to the answer of a card; nothing here uses a pointer."""

from chrome import Keys, case, check, kill, until

# More stops than this nobody takes to reach something.
STOPS_MAX = 60


def tab_to(page, words, within):
    """By Tab to what bears these words; how many stops it takes. Each stop must be seen to have the focus."""
    for stop in range(1, STOPS_MAX + 1):
        page.key(Keys.TAB)
        here = page.script(
            """
            const at = document.activeElement;
            const name = at.getAttribute("aria-label") ?? at.innerText ?? "";
            const { outlineStyle, outlineWidth } = getComputedStyle(at);
            const isSeen = outlineStyle !== "none" && outlineWidth !== "0px";
            // A heading gets the focus from the page when a view has opened, maybe only after the key; it is no stop.
            const isNoStop = at === document.body || at.tabIndex < 0;
            return [name.trim() || at.id, at.closest(arguments[0]) !== null, isSeen, isNoStop];
            """,
            within,
        )
        name, is_within, is_seen, is_no_stop = here
        check(is_seen or is_no_stop, f"nothing shows that {name!r} has the focus")
        if is_within and name.startswith(words):
            return stop
    check(False, f"{words!r} in {within} is not within {STOPS_MAX} stops; the last is {here}")


def focus_is(page, words):
    until(f"the focus is at {words!r}", lambda: page.focused().startswith(words))


def play(page):
    page.open()
    page.live()
    page.key(Keys.TAB)
    focus_is(page, "Skip to the content")
    page.key(Keys.ENTER)
    stops = {"worker": tab_to(page, "mail", ".panel h3")}
    page.key(Keys.ENTER)
    # The reader is at the heading of what was opened.
    focus_is(page, "mail")
    page.shown("#/worker/mail")
    stops["recover"] = tab_to(page, "Recover", ".deeds")
    page.key(Keys.ENTER)
    page.has("dialog h2", "Sign in")
    page.key("medic", Keys.TAB, "test", Keys.ENTER)
    page.has("dialog h2", "Recover mail")
    page.has("dialog .preview", "mail.service")
    # Escape does nothing but close, and the focus is where it was.
    page.key(Keys.ESCAPE)
    page.dialog_gone()
    focus_is(page, "Recover")
    page.key(Keys.ENTER)
    page.has("dialog .preview", "mail.service")
    stops["do it"] = tab_to(page, "Do it", "dialog")
    page.key(Keys.ENTER)
    answer = page.has("dialog .answer", "accepted as incident")
    focus_is(page, "Close")
    page.key(Keys.ENTER)
    page.dialog_gone()
    focus_is(page, "Recover")

    kill("billing@1.service")
    page.script("document.activeElement.blur()")
    stops["overview"] = tab_to(page, "Overview", "nav")
    page.key(Keys.ENTER)
    page.has(".card", "billing@1.service")
    stops["approve"] = tab_to(page, "Approve", ".card")
    page.key(Keys.ENTER)
    page.has("dialog h2", "Approve", "billing@1.service")
    stops["yes"] = tab_to(page, "Approve", "dialog")
    page.key(Keys.ENTER)
    until("it is answered", lambda: page.text("dialog .answer"))
    page.key(Keys.ESCAPE)
    page.dialog_gone()
    until("the card is gone", lambda: not page.all(".card"))

    # Tiles: one stop for a worker, arrows from there.
    page.go("#/")
    page.shown()
    stops["tile"] = tab_to(page, "", ".tiles[aria-label='Instances of orders']")
    first = page.script("return document.activeElement.title")
    page.key(Keys.ARROW_RIGHT)
    second = page.script("return document.activeElement.title")
    check(first.startswith("orders@1.service") and second.startswith("orders@2.service"), f"{first}, {second}")
    page.key(Keys.ENTER)
    page.shown("#/worker/orders?unit=orders%402.service")
    return {"stops": stops, "answer": answer}


case("keyboard", play)
