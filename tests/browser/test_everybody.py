"""Everybody can use the page: in light and dark, on a phone, with the keyboard, with a screen reader."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits
from tests.browser.service import Service, faulty

pytestmark = pytest.mark.browser

VIEWS = {
    "overview": "#/",
    "job": "#/jobs/{id}",
    "features": "#/features/everybody",
    "charts": "#/features/everybody?view=charts",
    "user": "#/features/everybody/users/3",
}


@pytest.fixture(scope="module")
def places(service: Service) -> dict[str, str]:
    job = service.publish("everybody", faulty())
    return {name: place.format(**job) for name, place in VIEWS.items()}


def _settle(page: Page, view: str) -> None:
    """Wait until all of a view is there."""
    expect(page.locator("main .loading")).to_have_count(0)
    expect(page.locator("main [aria-busy]")).to_have_count(0)
    if view == "charts":
        expect(page.locator(".chart svg")).to_have_count(4)
    if view == "overview":
        page.get_by_role("button", name="Upload files").click()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_view_has_a_serious_barrier(visit: Visits, places: dict[str, str], view: str, dark: bool) -> None:
    page = visit(places[view], dark=dark)
    _settle(page, view)

    found = [
        (violation["id"], violation["nodes"][0]["html"], violation["nodes"][0].get("failureSummary"))
        for violation in Axe().run(page).response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]

    assert found == []


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_has_to_be_moved_sideways_on_a_phone(visit: Visits, places: dict[str, str], view: str) -> None:
    page = visit(places[view], width=390)
    _settle(page, view)

    assert page.evaluate("document.documentElement.scrollWidth") == 390


def _background(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_the_page_is_dark_where_the_system_is_and_can_be_switched(visit: Visits) -> None:
    page = visit(dark=True)
    switch = page.get_by_role("button", name="Dark mode")
    assert _background(page) == "rgb(16, 20, 19)"
    expect(switch).to_have_attribute("aria-pressed", "true")

    switch.click()
    assert _background(page) == "rgb(246, 247, 246)"
    page.reload()
    assert _background(page) == "rgb(246, 247, 246)", "the choice was not kept"


def _press_to(page: Page, name: str) -> None:
    """Go on with the tab key until what has this name has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent").strip() == name:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"nobody sees that {name} has the focus"
            return
    raise AssertionError(f"the keyboard does not come to {name}")


def test_a_job_is_run_and_its_features_sorted_with_the_keyboard_alone(visit: Visits, places: dict[str, str]) -> None:
    assert places
    page = visit()
    expect(page.get_by_role("heading", name="everybody")).to_be_visible()
    _press_to(page, "Dry run on everybody")
    page.keyboard.press("Enter")
    expect(page.get_by_text("A dry run on everybody was started.")).to_be_visible()
    expect(page.get_by_role("button", name="Dry run on everybody")).to_be_focused()

    _press_to(page, "Features of everybody")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Features of everybody")).to_be_focused()
    expect(page.get_by_role("link", name="Carol")).to_be_visible()
    _press_to(page, "Total experiments")
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Total experiments")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody tr").first).to_contain_text("Carol")
    expect(page.get_by_role("button", name="Total experiments")).to_be_focused()


def test_who_follows_a_link_stays_at_the_heading_when_the_data_comes(visit: Visits, places: dict[str, str]) -> None:
    page = visit()
    page.get_by_role("link", name=places["job"][-8:], exact=True).click()

    expect(page.get_by_role("region", name="Files")).to_be_visible()
    expect(page.locator("h2")).to_be_focused()


def test_what_happens_is_said_to_who_does_not_see_it(visit: Visits, service: Service, places: dict[str, str]) -> None:
    assert places
    page = visit()
    expect(page.locator(".job").first).to_be_visible()
    job = service.run("everybody", force=True)

    expect(page.get_by_role("status").filter(has_text=f"Job {job['id'][-8:]} on everybody: Published")).to_be_attached()


def test_nothing_moves_for_who_wants_no_motion(visit: Visits) -> None:
    page = visit()
    page.emulate_media(reduced_motion="reduce")

    assert page.evaluate("getComputedStyle(document.querySelector('progress')).animationName") == "none"
