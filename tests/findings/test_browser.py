"""The HTML in a real browser: nothing is fetched, nothing of a name runs, a screen reader finds its way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.findings.documents import report_document
from hpo_batch.findings.report import Report, write
from tests.findings.made import empty, findings, trials

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # playwright's own pipes
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ONLY_VIOLATIONS = {"resultTypes": ["violations"]}
"""the same rules; of the thousands of places that are fine one is described, not each"""
SCRIPT = "<script>document.title='broken'</script>"
MAKES = {
    "all": lambda: (findings(), [trials()]),
    "hostile": lambda: (findings(name=SCRIPT, label=SCRIPT, value=SCRIPT), [trials(SCRIPT, SCRIPT, SCRIPT)]),
    "long": lambda: (findings(name="x" * 300, label="y" * 300), [trials("y" * 300, "x" * 300)]),
    "empty": lambda: (empty(), []),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra 'dev'")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize("made", MAKES)
def test_the_page_is_sound_on_every_screen(browser: Any, tmp_path: Path, made: str) -> None:
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core-python, of the extra 'dev'")
    found, drawn = MAKES[made]()
    document = report_document(found, drawn, version="1")
    write(Report(findings=found, document=document, sources=()), tmp_path / "r")
    screens = [(1280, "light"), (390, "dark")] + [(1280, "dark"), (390, "light")] * (made == "all")
    for width, scheme in screens:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.set_default_timeout(60_000)
        requests: list[str] = []
        troubles: list[str] = []
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.on("console", lambda message, seen=troubles: seen.append(message.text))
        page.on("pageerror", lambda error, seen=troubles: seen.append(str(error)))
        page.goto((tmp_path / "r" / "report.html").as_uri())
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert troubles == []
        assert page.title() == document.title.replace("\n", " ")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        if made == "all" or width == 390:  # names change the layout, which the narrow screen shows; colours they do not
            violations = axe.Axe().run(page, options=ONLY_VIOLATIONS)["violations"]
            assert [(v["id"], v["nodes"][0]["html"][:200]) for v in violations] == []
        context.close()


def test_tables_sort_and_lines_tell_their_trial(browser: Any, tmp_path: Path) -> None:
    document = report_document(findings(), [trials()], version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto((tmp_path / "r" / "report.html").as_uri())
    table = page.locator("table", has=page.locator("th button")).first
    table.evaluate(
        "(t) => { for (let fold = t; fold; fold = fold.parentElement) "
        "if (fold.tagName === 'DETAILS') fold.open = true; }"
    )
    button = table.locator("th button").nth(1)
    numbers = "(t) => [...t.tBodies[0].rows].map((row) => parseFloat(row.cells[1].textContent))"
    button.focus()
    page.keyboard.press("Enter")
    up = table.evaluate(numbers)
    page.keyboard.press("Enter")
    assert table.evaluate(numbers) == up[::-1]
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "descending"
    line = page.locator("figure .run.best").first
    line.dispatch_event("pointerover", {"bubbles": True})
    assert page.locator("figure:has(.run.best) .tells").first.text_content() == line.get_attribute("data-tell")
    page.close()


def test_without_scripts_everything_is_there_and_it_prints(browser: Any, tmp_path: Path) -> None:
    document = report_document(findings(), [trials()], version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto((tmp_path / "r" / "report.html").as_uri())
    assert page.locator("section").count() == 2 + len(document.sections)
    assert page.locator("th button").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")
    context.close()
