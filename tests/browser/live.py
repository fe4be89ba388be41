"""A kill is on the page within a blink: from `kill -9` to the change of the instance's tile, kill after kill.

`live.py TEMPLATE COUNT` kills the instances 1 to COUNT, each once.
"""

import sys

from chrome import api, case, check, kill, until

# The moment at which the tile of a unit changes, and that at which the frame with it was painted, in microseconds of the
# wall clock. An observer is called in the frame that changed the tile; the message arrives after the frame behind it
# has begun, so the second number is a frame too long rather than too short.
WATCH = """
  const unit = arguments[0];
  const tile = [...document.querySelectorAll(".tile")].find((one) => one.title.startsWith(`${unit}:`));
  const now = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
  window.change = null;
  new MutationObserver((_, observer) => {
    observer.disconnect();
    const seen = { dom: now(), is: tile.className };
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => { window.change = { ...seen, painted: now() }; };
    requestAnimationFrame(() => port2.postMessage(null));
  }).observe(tile, { attributes: true, attributeFilter: ["class"] });
  return tile.className;
"""

# Recoveries are proven for a while before their incidents close.
PROOF_SECONDS = 90


def one_kill(page, unit):
    before = page.script(WATCH, unit)
    check(before == "tile healthy", f"{unit} is {before}")
    killed = kill(unit)
    change = until(f"the tile of {unit} changes", lambda: page.script("return window.change"))
    check(change["is"] != before, f"it changed to {change['is']}")
    until(f"{unit} runs again", lambda: api(f"/instances/{unit}")["health"] == "healthy")
    return {"unit": unit, "dom_us": change["dom"] - killed, "painted_us": change["painted"] - killed}


def play(page):
    template, count = sys.argv[1], int(sys.argv[2])
    page.open()
    page.live()
    seen = [one_kill(page, f"{template}@{number}.service") for number in range(1, count + 1)]
    all_well = "return [...document.querySelectorAll('.tile')].every((one) => one.className === 'tile healthy')"
    until("the page shows that all are well", lambda: page.script(all_well), PROOF_SECONDS)
    return seen


case("live", play)
