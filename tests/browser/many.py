"""A host with a thousand instances: when its page is painted, when all tiles are there, and what it weighs.

`many.py COUNT ROUNDS`
"""

import sys

from chrome import case, check, until

# From the beginning of the load: when so many tiles stand in the document, and when the frame with them was painted.
WATCH = """
  window.tiles = null;
  new MutationObserver((_, observer) => {
    if (document.querySelectorAll(".tile").length < COUNT) return;
    observer.disconnect();
    const there = performance.now();
    requestAnimationFrame(() => setTimeout(() => { window.tiles = { there, painted: performance.now() }; }));
  }).observe(document, { childList: true, subtree: true });
"""

# `transferSize` is what came over the wire, headers included.
WEIGHT = """
  const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const overview = all.find((one) => one.name.endsWith("/overview"));
  return {
    first_paint_ms: paint?.startTime, tiles_ms: window.tiles.there, tiles_painted_ms: window.tiles.painted,
    bytes: all.reduce((sum, one) => sum + one.transferSize, 0), overview_bytes: overview?.transferSize,
    unpacked_bytes: all.reduce((sum, one) => sum + one.decodedBodySize, 0), files: all.length,
    tiles: document.querySelectorAll(".tile").length,
  };
"""


def play(page):
    count, rounds = int(sys.argv[1]), int(sys.argv[2])
    page.cdp("Network.enable")
    page.cdp("Network.setCacheDisabled", cacheDisabled=True)
    page.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH.replace("COUNT", str(count)))
    seen = []
    for _ in range(rounds):
        page.open()
        page.live()
        until("all tiles are painted", lambda: page.script("return window.tiles"))
        # The weight is that of everything, whichever view is opened later.
        page.fetched()
        one = until("it was painted", lambda: (found := page.script(WEIGHT))["first_paint_ms"] and found)
        check(one["tiles"] >= count, one)
        seen.append(one)
    return seen


case("many", play)
