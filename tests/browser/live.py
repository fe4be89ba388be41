"""A kill is on the page within a blink: from `kill -9` to the change of the instance's tile, kill after kill."""

from chrome import api, case, check, kill, until

UNITS = [f"orders@{number}.service" for number in range(1, 10)]

# The moment at which the tile of a unit changes, and that at which the frame with it was painted, in microseconds of the
# wall clock. An observer is called in the frame that changed the tile; a message that it sends arrives after that.
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


def one_kill(page, unit):
    before = until(f"{unit} is well", lambda: (is_well(unit) and page.script(WATCH, unit)) == "tile healthy")
    check(before, f"{unit} is well")
    killed = kill(unit)
    change = until(f"the tile of {unit} changes", lambda: page.script("return window.change"))
    check(change["is"] != "tile healthy", f"it changed to {change['is']}")
    until(f"{unit} is well again", lambda: is_well(unit))
    until("so says its tile", lambda: page.script(IS_WELL, unit))
    return {"unit": unit, "dom_us": change["dom"] - killed, "painted_us": change["painted"] - killed}


IS_WELL = """
  return [...document.querySelectorAll(".tile")].find((one) => one.title.startsWith(`${arguments[0]}:`))
    ?.className === "tile healthy";
"""


def is_well(unit):
    one = api(f"/instances/{unit}")
    return one["health"] == "healthy" and one.get("incident") is None


def play(page):
    page.open()
    page.live()
    return [one_kill(page, unit) for unit in UNITS]


case("live", play)
