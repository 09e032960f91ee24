"""Makes the pictures of the documentation from a sweep that it runs: ``make pictures``.

60 small trainings on this machine, then the live screen of ``status -w`` as SVG, taken while they run, and the top of
the report as PNG, taken by Chromium (Debian: ``apt-get install chromium``). Numbers differ from machine to machine: a
build of the documentation takes the pictures as they are.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

from hpo_batch.cli.live_screen import page
from hpo_batch.monitor.status import study_statuses
from hpo_batch.store.home import find_homes

HERE = Path(__file__).parent
SWEEP = HERE.parents[1] / "configs" / "quickstart.toml"
STUDY, TRIALS, TAKEN_AT = "quickstart", 60, 45
COLUMNS, ROWS = 80, 30
WIDTH, HEIGHT = 1000, 960
"""of the report's picture, in pixels"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "hpo_batch", *words]


def draw_status(logs: Path, picture: Path) -> None:
    """The screen once most trials are finished, as ``status -w`` draws it."""
    homes = find_homes(logs, STUDY)
    while (statuses := study_statuses(homes))[0].counts.finished < TAKEN_AT:
        time.sleep(0.2)
    console = Console(
        file=io.StringIO(), record=True, width=COLUMNS, height=ROWS, force_terminal=True, color_system="truecolor"
    )
    shown = [replace(status, path=f"/home/me/logs/{STUDY}") for status in statuses]
    console.print(page(shown, console, all_workers=False, every="every 2 s"))
    # without the fonts that it would load from the network
    start, end = CONSOLE_SVG_FORMAT.index("    @font-face"), CONSOLE_SVG_FORMAT.index("    .{unique_id}-matrix")
    template = CONSOLE_SVG_FORMAT[:start] + CONSOLE_SVG_FORMAT[end:]
    title = f"hpo-batch status {STUDY} -w"
    text = console.export_svg(title=title, theme=MONOKAI, code_format=template, unique_id="screen")
    picture.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def draw_report(report: Path, picture: Path) -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        shown.goto((report / "report.html").as_uri())
        shown.screenshot(path=picture)
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        logs.mkdir()
        root = ("--root", str(logs))
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            command("submit", str(SWEEP), "--local", "--trials", str(TRIALS), *root),
            env=environ,
            cwd=folder,
            check=True,
        )
        draw_status(logs, HERE / "status.svg")
        subprocess.run(
            command("submit", str(SWEEP), "--local", "--trials", str(TRIALS), "--wait", *root),
            env=environ, cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        report = Path(folder) / "report"
        subprocess.run(command("report", STUDY, "-o", str(report), *root), env=environ, cwd=folder, check=True)
        draw_report(report, HERE / "report.png")
    for name in ("status.svg", "report.png"):
        print(f"{HERE / name}: {(HERE / name).stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
