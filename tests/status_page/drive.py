"""Looks at the status page as a browser does, and holds it to what the API says at that moment.

Each check is a function; a failure names what was expected. Pictures are left in the folder that the call names.
"""

import contextlib
import os
import re
import sys
import threading
import time
import urllib.parse

from playwright.sync_api import expect, sync_playwright

from stage import NASTY_MODEL, TOKEN, Held, Stage, ask, until

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


class Watched:
    """A page whose errors and requests are kept."""

    def __init__(self, browser, url, **settings):
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.url, self.errors, self.requests = url, [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def close(self, of_requests=False):
        """Nothing went wrong, nothing was asked elsewhere. With `of_requests` failed requests are expected."""
        ours = [error for error in self.errors if not (of_requests and "Failed to load resource" in error)]
        assert not ours, f"the browser complains: {ours}"
        foreign = [url for url in self.requests if not url.startswith(self.url)]
        assert not foreign, f"asked elsewhere: {foreign}"
        self.context.close()


def row_of(page, name):
    """The row of an endpoint."""
    return page.locator("tr[data-endpoint]").filter(has=page.locator(".name").get_by_text(name, exact=True))


def does_not_overflow(page, size):
    """Nothing is wider than the screen."""
    widest = page.evaluate("document.documentElement.scrollWidth")
    assert widest <= size["width"], f"{widest} pixels on a screen of {size['width']}"


def shows_what_runs(page, admin):
    """Every pool, endpoint and route of the API, and its generation."""
    _, status = ask(f"{admin}/api/status")
    expect(page.locator("#summary")).to_contain_text(f"generation {status['generation']['generation']},")
    expect(page.locator("#updated")).to_contain_text("last updated")
    expect(page.locator("tr[data-endpoint]")).to_have_count(sum(len(pool["endpoints"]) for pool in status["pools"]))
    for pool in status["pools"]:
        expect(page.get_by_role("heading", name=f"Pool {pool['name']}", exact=True)).to_be_visible()
        for endpoint in pool["endpoints"]:
            row = row_of(page, endpoint["name"])
            expect(row).to_contain_text(endpoint["url"])
            expect(row.locator("td[data-label=state]")).to_contain_text(endpoint["health"])
    for route in status["routes"]:
        shown = page.locator("tr[data-route]").filter(has=page.get_by_text(route["name"], exact=True))
        expect(shown.first).to_contain_text(route["module"])


def markup_in(value):
    """Every text in an answer that looks like markup."""
    if isinstance(value, str):
        return {value} if "<" in value else set()
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(markup_in, inside))


def runs_no_name(page, admin):
    """The nasty names are there as text, and only as text."""
    status = ask(f"{admin}/api/status")[1]
    shown = {"loaded": [], "names": []}
    for endpoint in (endpoint for pool in status["pools"] for endpoint in pool["endpoints"]):
        shown["loaded"] += endpoint.get("loaded", [])
        shown["names"].append(endpoint["name"])
    nasty = markup_in(shown) | markup_in([route["name"] for route in status["routes"]])
    assert nasty, "nothing nasty is shown: what is tested here?"
    for name in nasty:
        expect(page.locator("#main").get_by_text(name).first).to_be_visible()
    assert page.title() == "Arriero", f"a name was executed: {page.title()}"
    found = page.evaluate("[document.images.length, document.scripts.length]")
    assert found == [0, 1], f"images and scripts in the page: {found}"


def follows_a_change(page, admin, name):
    """An endpoint that drains says so; ready again, too."""
    url = f"{admin}/api/endpoints/{urllib.parse.quote(name, safe='')}"
    state = row_of(page, name).locator("td[data-label=state]")
    expect(state).to_contain_text("up")
    for word, shown in [("drain", "drain"), ("maint", "maint"), ("ready", "up")]:
        code, body = ask(url, "PATCH", {"state": word})
        assert code == 200, (code, body)
        expect(state).to_contain_text(f"● {shown}", timeout=8000)


def chat(proxy, model):
    """A request through the proxy, answered."""
    body = {"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}
    code, answer = ask(f"{proxy}/v1/chat/completions", "POST", body, seconds=60)
    assert code == 200, (code, answer)


def counts_a_request(page, proxy, name):
    """A request through the proxy shows among the picks."""
    picks = row_of(page, name).locator("td[data-label=picks]")
    before = int(picks.inner_text().replace(",", ""))
    chat(proxy, "llama3.2:3b")
    expect(picks).to_have_text(f"{before + 1:,}", timeout=8000)


def number_of(text):
    """The first number in a text: 1,234 of 2,000 is 1234; none is None."""
    found = re.search(r"\d[\d,]*(\.\d+)?", text)
    return float(found[0].replace(",", "")) if found else None


def figures_of_the_page(page, pool, name):
    """In flight of the endpoint and of the pool, those that wait, and the TTFT's text, as the page shows them."""
    section = page.locator(f"section[data-pool={pool}]")
    facts = section.locator(".facts span").all_inner_texts()
    row = row_of(page, name)
    in_flight = row.locator("td[data-label='in flight'] span").first.inner_text()
    return {
        "in flight": number_of(in_flight),
        "cap": number_of(in_flight.split("/")[1]),
        "in the pool": number_of(next(fact for fact in facts if fact.endswith(" in flight"))),
        "queued": number_of(next(fact for fact in facts if fact.startswith("queue "))),
        "TTFT": row.locator("td[data-label=TTFT]").inner_text(),
    }


def figures_of_the_api(admin, pool, name):
    """The same as /api/status has them; the TTFT in ms or none."""
    pools = ask(f"{admin}/api/status")[1]["pools"]
    shown = next(row for row in pools if row["name"] == pool)
    endpoint = next(row for row in shown["endpoints"] if row["name"] == name)
    return {
        "in flight": endpoint["in_flight"],
        "cap": endpoint["max_in_flight"],
        "in the pool": shown["in_flight"],
        "queued": shown["queue"]["queued"],
        "TTFT": endpoint.get("ttft_ms"),
    }


def says_the_same(shown, told):
    """The page's figures are those of the API. A TTFT is shown rounded, in ms or s; none is shown as a dash."""
    counts = [key for key in told if key != "TTFT"]
    if any(shown[key] != told[key] for key in counts):
        return False
    value = number_of(shown["TTFT"])
    if told["TTFT"] is None or value is None:
        return told["TTFT"] is None and value is None
    shown_ms = value if shown["TTFT"].strip().endswith("ms") else value * 1000
    return abs(shown_ms - told["TTFT"]) <= max(1, 0.06 * told["TTFT"])


def shows_load(page, stage, engine_model):
    """Nothing, one that runs, one that waits behind it, nothing again: in flight, queue and TTFT as the API tells them."""
    engine = Held(engine_model)
    with contextlib.closing(engine):
        _, proxy, admin = stage.one_slot(engine.url)
        page.goto(admin)

        def shows(what, in_flight, queued, has_ttft):
            def holds():
                shown, told = figures_of_the_page(page, "one", "slot"), figures_of_the_api(admin, "one", "slot")
                holds.seen = shown, told
                due = told["in flight"] == told["in the pool"] == in_flight and told["queued"] == queued
                return due and (told["TTFT"] is not None) == has_ttft and says_the_same(shown, told)

            try:
                until(f"the page shows {what}", holds)
            except AssertionError as error:
                raise AssertionError(f"{error}: page and API {holds.seen}") from None

        expect(row_of(page, "slot")).to_be_visible()
        shows("nobody", 0, 0, False)
        clients = []
        for what, in_flight, queued in [("one that runs", 1, 0), ("one that waits", 1, 1)]:
            clients.append(threading.Thread(target=chat, args=(proxy, engine_model), daemon=True))
            clients[-1].start()
            shows(what, in_flight, queued, False)
        engine.go.set()
        for client in clients:
            client.join(20)
        shows("that both have ended", 0, 0, True)
        assert engine.answered == 2, engine.answered


def asks_for_the_token(browser, admin):
    """Without the token nothing is shown; a wrong one is refused; the right one is kept for the tab, not longer."""
    rows = len(ask(f"{admin}/api/endpoints", token=TOKEN)[1])
    watched = Watched(browser, admin)
    page = watched.page
    expect(page.locator("#token")).to_be_visible()
    expect(page.locator("tr[data-endpoint]")).to_have_count(0)
    page.fill("#token", "not-the-token-at-all")
    page.click("text=Show")
    expect(page.locator("#trouble")).to_contain_text("does not take this token")
    page.fill("#token", TOKEN)
    page.click("text=Show")
    expect(page.locator("tr[data-endpoint]")).to_have_count(rows)
    expect(page.locator("#ask")).to_be_hidden()
    page.reload()
    expect(page.locator("tr[data-endpoint]")).to_have_count(rows)
    assert page.evaluate("localStorage.length") == 0 and not watched.context.cookies()
    watched.close(of_requests=True)


def tells_that_nobody_answers(stage, watched, process):
    """A proxy that has ended: the page says so, and that what it shows is old."""
    rows = watched.page.locator("tr[data-endpoint]").count()
    stage.end(process)
    expect(watched.page.locator("#trouble")).to_contain_text("does not answer", timeout=10000)
    expect(watched.page.locator("tr[data-endpoint]")).to_have_count(rows)
    assert "ago" in watched.page.locator("#updated").inner_text()


def sizes_and_colours(browser, admin, folder):
    """Desktop and phone, light and dark: nothing overflows, dark is dark."""
    backs = {}
    for name, size, colours in [("desktop", DESKTOP, "light"), ("desktop-dark", DESKTOP, "dark"), ("phone", PHONE, "light")]:
        watched = Watched(browser, admin, viewport=size, color_scheme=colours)
        expect(watched.page.locator("tr[data-endpoint]").first).to_be_visible()
        does_not_overflow(watched.page, size)
        backs[name] = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        watched.page.screenshot(path=f"{folder}/{name}.png", full_page=True)
        watched.close()
    assert backs["desktop"] == backs["phone"] != backs["desktop-dark"], backs


def look(browser, admin, folder):
    """All that can be seen at any listener."""
    watched = Watched(browser, admin, viewport=DESKTOP)
    shows_what_runs(watched.page, admin)
    runs_no_name(watched.page, admin)
    names = [endpoint["name"] for endpoint in ask(f"{admin}/api/endpoints")[1]]
    for name in (names[0], names[-1]):
        follows_a_change(watched.page, admin, name)
    runs_no_name(watched.page, admin)
    sizes_and_colours(browser, admin, folder)
    return watched, names[0]


def main(folder):
    """Everything; or, with ADMIN_URL, what can be seen there."""
    options = {"executable_path": os.environ["CHROMIUM"], "args": ["--no-sandbox", "--disable-gpu"]}
    with sync_playwright() as playwright, Stage(folder) as stage:
        browser = playwright.chromium.launch(**options)
        if os.environ.get("ADMIN_URL"):
            look(browser, os.environ["ADMIN_URL"].rstrip("/"), folder)[0].close()
            return
        engines = stage.engine("llama3.2:3b"), stage.engine(NASTY_MODEL)
        process, proxy, admin = stage.proxy(engines)
        chat(proxy, NASTY_MODEL)  # loads it, so that its name is shown
        until("the loaded model is told", lambda: markup_in([row.get("loaded") for row in ask(f"{admin}/api/endpoints")[1]]))
        watched, first = look(browser, admin, folder)
        counts_a_request(watched.page, proxy, first)
        loaded = Watched(browser, admin, viewport=DESKTOP)
        shows_load(loaded.page, stage, "m")
        loaded.context.close()
        tells_that_nobody_answers(stage, watched, process)
        watched.close(of_requests=True)
        asks_for_the_token(browser, stage.proxy(engines, TOKEN)[2])


if __name__ == "__main__":
    began = time.monotonic()
    main(sys.argv[1])
    print(f"status page: looked at in {time.monotonic() - began:.1f} s")
