"""Names and texts from outside that would be markup are text: in a pause, the configuration, a log and a rejection."""

from chrome import Keys, api, case, check, kill, until

IMAGE = '<img src=x onerror="window.hit=1">'
SCRIPT = "</script><script>window.hit=2</script>"
REASON = IMAGE + SCRIPT

FOREIGN = """
  const { images, scripts } = document;
  return [window.hit ?? null, images.length, scripts.length, document.querySelectorAll("[onerror]").length];
"""


def untouched(page, where):
    found = page.script(FOREIGN)
    check(found == [None, 0, 2, 0], f"{where}: {found}")


def play(page):
    page.open()
    untouched(page, "overview")
    page.press("Sign in", "#me")
    page.sign_in("medic", "test")
    page.has("#me", "medic")
    page.go("#/worker/mail")
    page.press("Pause …")
    page.type("#reason", REASON)
    page.key(Keys.ENTER)
    page.has("dialog .answer", "paused")
    page.key(Keys.ESCAPE)
    seen = {}

    def look(view, selector, *words):
        page.go(view)
        page.has(selector, *words)
        untouched(page, view)
        # What is in attributes is text, too.
        check(not page.all("img"), f"{view}: an image")
        seen[view] = list(words)

    look("#/worker/mail", "main .notices", REASON)
    look("#/", "main .notices", REASON)
    look("#/audit", "main", REASON)
    look("#/configuration", "main", SCRIPT)

    # A worker that writes markup, and dies of it.
    kill("loud@1.service")
    story = until("its log is known", lambda: story_of("loud@1.service"))
    template = story["incident"]["pattern"]["template"]
    check("<img src=x" in template, template)
    look(f"#/incident/{story['incident']['id']}", "main", template)
    look("#/incidents", "main", "loud@1.service")
    # An address of somebody else's making.
    look("#/worker/%3Cimg%20src%3Dx%20onerror%3D%22window.hit%3D1%22%3E", "main h1", IMAGE)
    look("#/incident/%3Cimg%20src=x%3E", "main", "<img src=x>")
    return seen


def story_of(unit):
    """The story of its incident, once that knows what the log said before."""
    for one in api(f"/incidents?unit={unit}"):
        story = api(f"/incidents/{one['id']}")
        if story["incident"].get("pattern"):
            return story
    return None


case("hostile", play)
