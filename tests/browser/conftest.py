"""A real browser in front of the real service."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from tests.browser.service import Service, running
from tests.conftest import fast_directory, missing

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 20_000
# Chromium breaks off all that is under way whenever a container's network comes or goes. The page asks again.
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with TemporaryDirectory(prefix="etl-", dir=fast_directory()) as directory, running(Path(directory)) as service:
        yield service


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if not chromium:
        missing("Chromium, to look at the page")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


def _go(page: Page, address: str) -> None:
    try:
        page.goto(address)
    except Error as error:
        if NETWORK_CHANGED not in error.message:
            raise
        page.goto(address)


@dataclass
class Visits:
    """Opens pages, and takes note of what they complain of and whom they ask."""

    browser: Browser
    service: Service
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    expected: str = "(?!)"

    def __call__(self, place: str = "#/", *, url: str = "", dark: bool = False, width: int = 1280) -> Page:
        """Open the page at a place; it is there when its heading is."""
        context = self.browser.new_context(
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": 844 if width < 500 else 900},
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        _go(page, f"{url or self.service.url}/{place}")
        expect(page.locator("main h2").first).to_be_visible()
        return page

    def expect(self, complaint: str) -> None:
        """What the browser logs of an answer that the test brings about is no complaint."""
        self.expected = complaint

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not re.search(f"{self.expected}|{NETWORK_CHANGED}", message.text):
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def end(self) -> None:
        for context in self.browser.contexts:
            context.close()


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Visits]:
    """Open pages; in the end none may have logged an error, and none asked another host."""
    visits = Visits(browser, service)
    yield visits
    visits.end()
    assert visits.complaints == []
    assert {host.rpartition(":")[0] for host in visits.hosts if host} <= {"127.0.0.1"}
