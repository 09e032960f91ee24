"""The HTML in a real browser: nothing is fetched, nothing of a name runs, a screen reader finds its way."""

from __future__ import annotations

import shutil
import threading
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
    page = browser.new_page()  # one for all screens: each new one would start processes and compile axe anew
    page.set_default_timeout(60_000)
    requests: list[str] = []
    troubles: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    for width, scheme in screens:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto((tmp_path / "r" / "report.html").as_uri())
        assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
        assert troubles == []
        assert page.title() == document.title.replace("\n", " ")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        if made == "all" or width == 390:  # names change the layout, which the narrow screen shows; colours they do not
            violations = axe.Axe().run(page, options=ONLY_VIOLATIONS)["violations"]
            assert [(v["id"], v["nodes"][0]["html"][:200]) for v in violations] == []
    page.close()


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
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    told = page.locator("#tip")
    assert not told.is_visible()
    line = page.locator("figure .run.best").first
    words = line.locator("title").text_content()
    line.dispatch_event("pointerover", {"bubbles": True})
    assert words.startswith("trial 4: val_auc 0.740; dropout = 0.2")
    assert told.text_content().startswith("trial 4 \u00b7 state complete \u00b7 val_auc 0.740 \u00b7 dropout 0.2")
    assert told.is_visible()
    dot = page.locator('figure circle[data-trial="toy-3"]').first
    dot.dispatch_event("click", {"bubbles": True})
    assert (
        told.text_content()
        == "trial 3 \u00b7 state complete \u00b7 val_auc 0.730 \u00b7 dropout - \u00b7 width 64 \u00b7 encoder b"
    )
    assert page.locator('[data-trial="toy-3"].on').count() > 1  # in every figure
    page.keyboard.press("Escape")
    assert not told.is_visible()
    page.close()


def test_the_table_of_all_trials_filters(browser: Any, tmp_path: Path) -> None:
    document = report_document(findings(), [trials()], version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto((tmp_path / "r" / "report.html").as_uri())
    page.evaluate("document.querySelector('#section-trials').open = true")
    field = page.get_by_label("Filter")
    for typed, wanted in {
        "pruned": {"12"},
        "state=pruned": {"12"},
        "dropout>0.2": {"1", "2"},
        "width=64 dropout<=0.2 trial>=8": {"9", "11"},
        "trial<2 encoder!=b": {"0"},
        "nothing": set(),
        "": {str(i) for i in range(13)},
    }.items():
        field.fill(typed)
        shown = page.locator("tr[data-trial]:visible th").all_text_contents()
        assert set(shown) == wanted, typed
    page.close()


def test_a_configuration_is_chosen_in_a_language_and_copied(browser: Any, tmp_path: Path) -> None:
    document = report_document(findings(), [trials()], version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto((tmp_path / "r" / "report.html").as_uri())
    page.evaluate(
        "document.execCommand = (name) => { window.seen = name + ':' + document.activeElement.value; return true; }"
    )
    box = page.locator("fieldset.copy").first
    assert box.locator("pre:visible").text_content() == '[space]\ndropout = 0.3\nencoder = "cnn"'
    box.get_by_text("Python").click()
    assert box.locator("pre:visible").text_content() == '{"dropout": 0.3, "encoder": "cnn"}'
    box.get_by_role("button", name="Copy").click()
    assert page.evaluate("window.seen") == 'copy:{"dropout": 0.3, "encoder": "cnn"}'
    page.locator(".next .copier").first.click()
    assert page.evaluate("window.seen") == "copy:hpo-batch resume toy --set study.trials=60"
    page.close()


def test_on_a_phone_figures_fit_and_on_paper_folds_are_open(browser: Any, tmp_path: Path) -> None:
    document = report_document(findings(), [trials()], version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(60_000)
    page.goto((tmp_path / "r" / "report.html").as_uri())
    assert page.locator("details.section[open]").count() == 0
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    widths = page.evaluate(
        "[...document.querySelectorAll('svg')].filter((s) => s.clientWidth)"
        ".map((s) => [s.getBoundingClientRect().right, s.clientWidth / s.viewBox.baseVal.width])"
    )
    assert len(widths) > 10
    assert max(right for right, _ in widths) <= 390
    assert min(scale for _, scale in widths) > 0.6  # letters of 12 pixels stay readable
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = false; })")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    page.close()


def test_without_scripts_everything_is_there_and_it_prints(browser: Any, tmp_path: Path) -> None:
    document = report_document(findings(), [trials()], version="1")
    write(Report(findings=findings(), document=document, sources=()), tmp_path / "r")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto((tmp_path / "r" / "report.html").as_uri())
    assert page.locator("section.card").count() == len(document.first)
    assert page.locator("details.section").count() == len(document.sections)
    assert page.locator("fieldset.copy").first.locator("pre:visible").count() == 1
    assert page.locator("tr[data-trial]").count() == 13
    assert page.locator("th button").count() == 0
    assert page.pdf(format="A4").startswith(b"%PDF")
    context.close()


def test_the_dashboard_loads_the_new_page_and_stays_where_it_was(browser: Any, tmp_path: Path) -> None:
    """Its policy lets it ask its own server, and nothing else."""
    from hpo_batch.findings.live_report import LiveReport, server
    from hpo_batch.findings.report import report

    path, over = tmp_path / "runs.csv", threading.Event()
    path.write_text("x,value\n" + "".join(f"{i},{i % 5}\n" for i in range(12)))
    live = LiveReport(lambda: report([str(path)]), (path,))
    with server(live, secret="s", port=0) as serving:
        threads = [
            threading.Thread(target=serving.serve_forever),
            threading.Thread(target=live.watch, args=(over,)),
        ]
        for thread in threads:
            thread.start()
        try:
            page = browser.new_page(viewport={"width": 800, "height": 500})
            page.goto(f"http://127.0.0.1:{serving.server_address[1]}/s/")
            page.evaluate("document.querySelectorAll('details')[1].open = true; window.scrollTo(0, 200)")
            path.write_text(path.read_text() + "99,7\n")
            page.wait_for_selector("text=13 complete", timeout=60_000, state="attached")
            assert page.evaluate("document.querySelectorAll('details')[1].open")
            assert page.evaluate("window.scrollY") == 200
            page.close()
        finally:
            over.set()
            serving.shutdown()
            for thread in threads:
                thread.join()
