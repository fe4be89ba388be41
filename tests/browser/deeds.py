"""What an operator can do from the page, each deed as a person does it; and what a reader is told who may not."""

from pathlib import Path

from chrome import Keys, Select, api, case, check, kill, until

PASSWORD = "test"
WEB = Path("/etc/unitmedic/web.yml")


# While somebody signs in, the page goes on reading: this holds back the question who it is.
HOLD = """
  const { fetch } = window;
  window.fetch = async (address, options) => {
    if (!address.endsWith("/me")) return fetch(address, options);
    window.fetch = fetch;
    await new Promise((done) => { window.letGo = done; });
    return fetch(address, options);
  };
"""
READS = "return performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/overview')).length"


def wrong_password(page):
    """It is told, and nothing else is asked with it."""
    page.script(HOLD)
    page.sign_in("medic", "wrong")
    until("the question is on its way", lambda: page.script("return window.letGo !== undefined"))
    reads = page.script(READS)
    kill("orders@2.service")
    until("the page has read on", lambda: page.script(READS) > reads)
    page.script("window.letGo()")
    told = page.has("dialog .answer", "This is not known here")
    check(page.text("#connection") == "live", f"reading stopped: {page.text('#loss')}")
    check("wrong" not in page.driver.current_url, "a password in the address")
    return told


def sign_in(page):
    page.open()
    page.live()
    check("Sign in" in page.text("#me"), "nobody is signed in at first")
    page.press("Pause all")
    page.has("dialog", "“Pause all” needs an operator")
    told = wrong_password(page)
    page.sign_in("medic", PASSWORD)
    # Who may goes on to what was asked for.
    page.has("dialog h2", "Pause everything")
    page.key(Keys.ESCAPE)
    page.dialog_gone()
    page.has("#me", "medic")
    return told


def recover(page):
    page.go("#/worker/mail")
    page.press("Recover …")
    page.has("dialog h2", "Recover mail")
    says = page.has("dialog .preview", "mail.service", "restart")
    page.press("Do it", "dialog")
    answer = page.has("dialog .answer", "accepted as incident")
    page.press("Close", "dialog")
    page.dialog_gone()
    incident = int(answer.rpartition("#")[2])
    until("it is done", lambda: is_closed(incident))
    page.go(f"#/incident/{incident}")
    page.has("h1", "asked")
    page.has("#timeline", "restart")
    return {"says": says, "incident": incident}


def is_closed(incident):
    return api(f"/incidents/{incident}")["incident"]["closed_at"] is not None


def closed_incident(unit):
    incident = until(f"{unit} has an incident", lambda: api(f"/incidents?unit={unit}"))[0]["id"]
    until("it is closed", lambda: is_closed(incident))
    return incident


def pause_and_resume(page, reason):
    page.go("#/worker/mail")
    page.press("Pause …")
    page.has("dialog", "is watched and judged, and nothing is done to it")
    Select(page.one("#span")).select_by_visible_text("4 h")
    page.type("#reason", reason)
    page.press("Pause", "dialog .choices")
    page.has("dialog .answer", "paused")
    page.press("Close", "dialog")
    page.has("main .notices", "mail is paused until", "medic", reason)
    page.press("Resume", "main .deeds")
    page.has("dialog", "ends")
    page.press("Resume", "dialog .choices")
    page.has("dialog .answer", "resume")
    page.press("Close", "dialog")
    page.button("Pause …")


def answer(page, unit, word, fill=None):
    """Lets an instance die that asks first, and answers its card on the overview."""
    page.go("#/")
    kill(unit)
    # What they were told is enough to decide by.
    page.has(".card", unit, "Why", "Considered", "Without an answer", "left to answer")
    card = page.text(".card")
    page.press(word, ".card")
    page.has("dialog h2", f"{word} ", unit)
    if fill:
        page.type("#reason", fill)
    page.press(word, "dialog .choices")
    said = until("it is answered", lambda: page.text("dialog .answer"))
    check(not page.all("dialog .trouble, dialog .refused"), said)
    page.press("Close", "dialog")
    return {"card": card, "said": said}


def answered_by_another(page, unit):
    """The question is in a dialog on the worker's page while somebody else says no."""
    page.go("#/worker/billing")
    kill(unit)
    page.has(".card", unit, "left to answer")
    page.press("Approve", ".card")
    page.has("dialog h2", "Approve", unit)
    [card] = api("/approvals")
    no = {"ask": "reject", "incident": card["incident"], "action": card["action"], "asked": card["asked"]}
    api("/requests", no | {"reason": "not now"}, ("medic", PASSWORD))
    told = page.has("dialog .answer", "medic", "said no meanwhile")
    check(not page.all("dialog .confirm"), "it can still be approved")
    page.press("Close", "dialog")
    page.dialog_gone()
    until("the card is gone", lambda: not page.all(".card"))
    return told


def approvals(page):
    approved = answer(page, "billing@1.service", "Approve")
    until("it is well", lambda: api("/instances/billing@1.service")["health"] == "healthy")
    until("the card is gone", lambda: not page.all(".card"))
    rejected = answer(page, "billing@2.service", "Reject", "the disk is being changed")
    until("nobody is asked any more", lambda: not api("/approvals"))
    late = answered_by_another(page, "billing@3.service")
    return {"approved": approved, "rejected": rejected, "late": late}


def false_alarm(page, incident):
    page.go(f"#/incident/{incident}")
    page.press("Mark as a false alarm")
    page.has("dialog", "It cannot be taken back")
    page.press("Mark it", "dialog")
    page.has("dialog .answer", "false alarm")
    page.press("Close", "dialog")


def reload(page):
    page.go("#/configuration")
    page.press("Reload …")
    page.has("dialog", "The files are read anew")
    page.press("Reload", "dialog .choices")
    said = page.has("dialog .answer", "the new configuration is in force")
    page.press("Close", "dialog")
    return said


def reader_is_refused(page):
    page.press("Sign out", "#me")
    until("signed out", lambda: "Sign in" in page.text("#me"))
    page.go("#/worker/mail")
    page.has("main .needed", "Deeds need a sign-in as an operator")
    page.press("Recover …")
    page.has("dialog", "needs an operator")
    page.sign_in("reader", PASSWORD)
    told = page.has("dialog", "Not allowed", "reader has the role reader", "unitmedic recover mail --action restart")
    page.press("Close", "dialog")
    page.has("main .needed", "You are reader, reader.")
    return told


def reading_is_closed(page):
    """Where reading needs a login, too, the page shows nothing without one, and everything with it."""
    text = WEB.read_text()
    check("open_reads: true" in text, text)
    WEB.write_text(text.replace("open_reads: true", ""))
    page.driver.get("about:blank")
    page.driver.get(f"{page.address}#/")
    told = page.has("#loss", "Reading needs a sign-in here.")
    check("mail" not in page.text("main"), page.text("main"))
    page.press("Sign in", "#loss")
    page.sign_in("reader", PASSWORD)
    page.has("main", "mail", "orders")
    page.live()
    check(not page.text("#loss"), page.text("#loss"))
    return told


def play(page):
    seen = {"wrong": sign_in(page), "recovered": recover(page)}
    pause_and_resume(page, "deploy of mail 2.1")
    seen |= approvals(page)
    kill("orders@1.service")
    seen["false_alarm"] = closed_incident("orders@1.service")
    false_alarm(page, seen["false_alarm"])
    seen["reloaded"] = reload(page)
    seen["refused"] = reader_is_refused(page)
    seen["closed"] = reading_is_closed(page)
    return seen


case("deeds", play)
