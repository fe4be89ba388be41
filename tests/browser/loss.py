"""The daemon goes and comes back: the page says so, shows what was known and when, and recovers by itself."""

import re
import time

from chrome import api, case, check, host, kill, until

UNIT = "orders@2.service"

# A browser says nothing of its memory of a page that it has shown: a mark of ours tells whether it was loaded anew.
MARK = "window.sameLife = true"


def play(page):
    page.open()
    page.live()
    page.script(MARK)
    # From then on every view can be opened.
    page.fetched()
    known = page.text("h1")

    gone = time.monotonic()
    wall = time.time()
    host("systemctl", "stop", "unitmedic.service")
    told = page.has("#loss", "connection lost, showing what was known at", "trying again")
    until("it does not look live", lambda: page.text("#connection") == "not live")
    said_after = time.monotonic() - gone
    check(page.text("h1") == known, "what was known is still there")
    check(page.script("return document.body.classList.contains('stale')"), "and looks as if it were live")
    at = re.search(r"known at (\d\d):(\d\d):(\d\d)", told)
    check(at, f"no time: {told}")
    then = time.localtime(wall)
    apart = (int(at[1]) * 60 + int(at[2])) * 60 + int(at[3]) - (then.tm_hour * 60 + then.tm_min) * 60 - then.tm_sec
    check(abs(apart) <= 20, f"{told}: {apart} s from now")
    audit = page.axe()
    check(not audit, audit)

    # Each view says that it cannot be read, or shows what is known, and nothing else breaks.
    for view in ("#/worker/orders", "#/incidents", "#/alerts", "#/configuration"):
        page.go(view)
        page.has("main .trouble", "the daemon does not answer, trying again")
    page.go("#/")

    # What happens meanwhile is shown when it is back.
    kill(UNIT)
    host("systemctl", "start", "unitmedic.service")
    back = time.monotonic()
    until("it is live again", lambda: page.text("#connection") == "live")
    live_after = time.monotonic() - back
    check(not page.text("#loss"), "the bar of the loss stays")
    check(not page.script("return document.body.classList.contains('stale')"), "it looks stale")
    incident = until("it has an incident", lambda: api(f"/incidents?unit={UNIT}"))[0]["id"]
    page.go("#/incidents")
    page.has("main", f"#{incident}", UNIT)
    page.go("#/")
    page.has("h1", "all well")
    # The stream is followed anew: another kill changes the page, too.
    kill(UNIT)
    page.has(".feed", UNIT)
    check(page.script("return window.sameLife === true"), "the page was loaded anew")
    return {"told": told, "said_after_s": round(said_after, 2), "live_after_s": round(live_after, 2)}


case("loss", play)
