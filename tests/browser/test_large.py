"""How much is loaded, and two million users. How long it takes is printed (`pytest -s`), and not asserted."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.bench.generate import generate
from tests.browser.conftest import Visits
from tests.browser.service import Service
from tests.servers import wait_until
from worker.indices import KEYS

pytestmark = pytest.mark.browser

USERS = 2_000_000

TRANSFERRED = """() => performance.getEntries().filter((entry) => "transferSize" in entry)
    .reduce((sum, entry) => sum + entry.transferSize, 0)"""

# From an action until what it brings about is there, in ms: measured in the page, where nobody polls.
UNTIL = """([action, there]) => new Promise((resolve) => {
    const is = new Function(`return ${there}`);
    const since = performance.now();
    const watch = new MutationObserver(() => {
        if (!is()) return;
        watch.disconnect();
        resolve(performance.now() - since);
    });
    watch.observe(document.body, { subtree: true, childList: true, attributes: true });
    new Function(action)();
})"""


def _told(what: str, ms: float) -> None:
    print(f"{what}: {ms:.0f} ms")  # noqa: T201


def _interact(page: Page, what: str, action: str, there: str) -> None:
    """Do something in the page, and tell how long it takes until what it should bring about is there."""
    _told(what, page.evaluate(UNTIL, [action, there]))


@pytest.fixture(scope="module")
def large(service: Service) -> str:
    """A dataset of so many users, published by a job, and with the indices that the sweeper makes."""
    directory: Path = service.data_dir / "large"
    generate(directory, experiments=USERS, users=USERS, compounds=500, shuffled=False, seed=1)
    job = service.run("large")
    assert job["outcome"] == "published", job
    wait_until(lambda: service.indices(job["id"]) > len(KEYS), "the indices are there", seconds=200)
    return "large"


def _first_row(page: Page) -> Locator:
    return page.locator(".users tbody tr").first


def test_the_first_load_is_small_and_the_second_asks_for_data_only(visit: Visits) -> None:
    page = visit()
    expect(page.locator(".card").first).to_be_visible()
    first = page.evaluate(TRANSFERRED)
    page.reload()
    expect(page.locator(".card").first).to_be_visible()
    second = page.evaluate(TRANSFERRED)
    print(f"transferred: {first} bytes, then {second}")  # noqa: T201

    assert first < 200_000
    assert second < first / 2


def test_two_million_users_are_sorted_searched_and_paged(visit: Visits, large: str) -> None:
    page = visit(f"#/features/{large}")
    expect(_first_row(page)).to_contain_text("User 1")

    for column in ("total_experiments", "average_run_time", "name"):
        button = f"document.querySelector('[data-focus=\"sort {column}\"]')"
        _interact(page, f"sorted by {column}", f"{button}.click()", f"{button}?.closest('[aria-sort]')")
    expect(_first_row(page)).to_contain_text("User 1")
    page.get_by_role("button", name="Total experiments").click()
    expect(page.get_by_role("columnheader", name="Total experiments")).to_have_attribute("aria-sort", "descending")
    assert int(_first_row(page).get_by_role("cell").nth(3).inner_text()) >= 5

    is_second = "document.querySelector('.pager span')?.textContent.startsWith('Page 2')"
    _interact(page, "next page", "document.querySelector('[data-focus=next]').click()", is_second)
    shown = _first_row(page).inner_text()
    page.reload()
    expect(page.get_by_text("Page 2, 25 users")).to_be_visible()
    assert _first_row(page).inner_text() == shown, "the page is not the address's"
    page.go_back()
    expect(page.get_by_text("Page 1, 25 users")).to_be_visible()

    typed = "const field = document.querySelector('#search'); field.value = 'user1234567@'"
    typing = f"{typed}; field.dispatchEvent(new Event('input'))"
    is_found = "document.querySelector('.users tbody tr')?.textContent.includes('user1234567@example.com')"
    _interact(page, "search, with the 150 ms for further keys", typing, is_found)
    expect(page.get_by_text("Page 1, 1 user", exact=True)).to_be_visible()
    assert "search=user1234567" in page.url

    page.get_by_label("Search").fill("nobody at all")
    expect(page.get_by_text("No user is like “nobody at all”.")).to_be_visible()


def test_the_charts_of_two_million_users_are_drawn(visit: Visits, large: str) -> None:
    page = visit(f"#/features/{large}?view=charts")

    expect(page.locator(".chart svg")).to_have_count(4, timeout=60_000)
    assert page.locator("figure").count() == 4
