"""The way of a scientist: three files in, a job watched, features looked at and taken along."""

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visits
from tests.browser.service import Files, Service, sample

pytestmark = pytest.mark.browser

DROP = """({ files }) => {
  const carried = new DataTransfer();
  for (const [name, text] of Object.entries(files)) carried.items.add(new File([text], name));
  return carried;
}"""


def _write(folder: Path, files: Files) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def test_from_an_upload_to_an_export(visit: Visits, tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("button", name="Upload files").click()
    page.get_by_label("Drop the three files here").set_input_files(_write(tmp_path, sample()))
    page.get_by_label("Name of the dataset").fill("way")
    page.get_by_role("button", name="Upload", exact=True).click()

    expect(page.get_by_text("The dataset way was uploaded.")).to_be_visible()
    row = page.locator(".job", has=page.get_by_role("link", name="way", exact=True))
    expect(row.get_by_text("Published")).to_be_visible()
    expect(row).to_contain_text("user_experiments 37")

    page.get_by_role("link", name="Features of way").click()
    expect(page.get_by_role("heading", name="Features of way")).to_be_visible()
    expect(page.locator("dl.numbers")).to_contain_text(re.compile("Average experiments per user2.643"))
    expect(page.get_by_role("row", name=re.compile("Carol")).first).to_contain_text("Caffeine")

    with page.expect_download() as downloading:
        page.get_by_role("link", name="Export as CSV").click()
    rows = list(csv.DictReader(downloading.value.path().read_text().splitlines()))
    assert downloading.value.suggested_filename.endswith(".csv")
    assert [row["name"] for row in rows][:3] == ["Alice", "Bob", "Carol"]
    assert len(rows) == 14


def test_files_that_are_dropped_are_taken(visit: Visits, service: Service) -> None:
    page = visit()
    page.get_by_role("button", name="Upload files").click()
    files = {name: content.decode() for name, content in sample().items()}
    carried = page.evaluate_handle(DROP, {"files": {**files, "notes.txt": "?"}})
    page.dispatch_event(".drop", "drop", {"dataTransfer": carried})

    expect(page.locator(".wanted .there")).to_have_count(3)
    expect(page.get_by_text("Not one of the three files: notes.txt.")).to_be_visible()

    page.get_by_label("Name of the dataset").fill("dropped")
    page.get_by_label("Run a job when the files are there").uncheck()
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_role("heading", name="dropped")).to_be_visible()
    assert service.ask("GET", "/api/v1/jobs?dataset=dropped")["items"] == []


def test_what_is_missing_is_said_before_anything_is_sent(visit: Visits, tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("button", name="Upload files").click()
    send = page.get_by_role("button", name="Upload", exact=True)

    send.click()
    expect(page.get_by_role("alert")).to_have_text("Missing: users.csv, user_experiments.csv, compounds.csv.")

    page.get_by_label("Drop the three files here").set_input_files(_write(tmp_path, sample()))
    page.get_by_label("Name of the dataset").fill("Not A Name")
    send.click()
    expect(page.get_by_role("alert")).to_contain_text("begins with a letter or a digit")
    expect(page.get_by_label("Name of the dataset")).to_be_focused()


def test_an_upload_that_is_refused_says_why(visit: Visits, tmp_path: Path) -> None:
    visit.expect("status of 409")
    page = visit()
    page.get_by_role("button", name="Upload files").click()
    page.get_by_label("Drop the three files here").set_input_files(_write(tmp_path, sample()))
    page.get_by_label("Name of the dataset").fill("default")
    page.get_by_role("button", name="Upload", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("is in DATA_DIR, which is not written to")


def test_a_dry_run_publishes_nothing_and_can_be_looked_at(visit: Visits, service: Service) -> None:
    visit.expect("status of 404")  # there is nothing yet that it could differ from
    service.upload("dry", sample())
    page = visit()
    page.get_by_role("button", name="Dry run on dry").click()
    page.get_by_role("link", name="Show it").click()

    expect(page.locator("h2")).to_contain_text("Dry run done")
    _features_of(page)
    expect(page.get_by_role("heading", name=re.compile("Features of dry, job"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("Carol"))).to_be_visible()


def _features_of(page: Page) -> None:
    page.get_by_role("link", name="Features", exact=True).last.click()


def test_a_users_numbers_name_the_input_lines(visit: Visits, service: Service) -> None:
    service.publish("explained")
    page = visit("#/features/explained")
    page.get_by_role("link", name="Carol").click()

    expect(page.get_by_role("heading", name="Carol (user 3)")).to_be_visible()
    total = page.get_by_role("row", name=re.compile("^Total experiments"))
    expect(total).to_contain_text(re.compile(r"10.*user_experiments.csv lines 5, 6, 9"))
    page.go_back()
    expect(page.get_by_role("heading", name="Features of explained")).to_be_visible()


def test_charts_are_drawn_and_each_is_a_table_as_well(visit: Visits, service: Service) -> None:
    service.publish("charted")
    page = visit("#/features/charted")
    page.get_by_role("link", name="Charts").click()

    expect(page.locator(".chart svg")).to_have_count(4)
    figure = page.get_by_role("figure").filter(has_text="Top compounds")
    figure.get_by_text("As a table").click()
    expect(figure.get_by_role("row").nth(1)).to_be_visible()
    assert page.locator("figure details").count() == 4


def test_what_is_shown_is_of_one_version_when_another_is_published(visit: Visits, service: Service) -> None:
    service.publish("renewed")
    page = visit("#/features/renewed?sort=-user_id")
    row = page.get_by_role("row", name=re.compile("Nadia"))
    expect(row).to_be_visible()
    lines = sample()["users.csv"].rstrip().splitlines(keepends=True)

    fewer = service.publish("renewed", sample(users=b"".join(lines[:-1])))
    expect(page.get_by_role("status").filter(has_text="Another version of renewed is published")).to_be_visible()
    expect(page.get_by_text("Published by job")).to_contain_text(fewer["id"][-8:])
    expect(row).to_have_count(0)
    expect(page.get_by_role("columnheader", name="User ID")).to_have_attribute("aria-sort", "descending")

    page.get_by_role("link", name="Charts").click()
    versions = page.get_by_role("figure").filter(has_text="by version")
    expect(versions.locator("tbody tr")).to_have_count(2)
    service.publish("renewed")
    expect(versions.locator("tbody tr")).to_have_count(3)
    expect(page.locator(".chart svg")).to_have_count(4)
    page.get_by_role("link", name="Users", exact=True).click()
    expect(row).to_be_visible()


def test_whole_numbers_and_ids_are_exact(visit: Visits, service: Service) -> None:
    """The larger id is none that a floating-point number can hold."""
    first = service.publish("exact")
    added = b"123456,Zoe,zoe@example.com,2024-01-01\n1234567890123456789,Yves,yves@example.com,2024-01-02\n"
    experiments = b"201,123456,1,1234567\n202,1234567890123456789,1,1.23456\n"
    files = {"users": added, "user_experiments": experiments}
    whole = sample(**{name: sample()[f"{name}.csv"].rstrip() + b"\n" + lines for name, lines in files.items()})
    second = service.publish("exact", whole)
    page = visit("#/features/exact")

    expect(page.get_by_role("row", name=re.compile("Zoe"))).to_contain_text(re.compile(r"^123456Zoe.*1,234,567"))
    page.get_by_role("link", name="1234567890123456789").click()
    expect(page.get_by_role("heading", name="Yves (user 1234567890123456789)")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^User ID"))).to_contain_text("1234567890123456789")
    total = page.get_by_role("row", name=re.compile("^Total experiments"))
    expect(total).to_contain_text(re.compile("user_experiments.csv line "))
    expect(page.get_by_role("row", name=re.compile("^Average run time"))).to_contain_text("1.235")

    page.goto(f"{service.url}/#/jobs/{second['id']}")
    page.get_by_label("Compared with").select_option(first["id"])
    users = page.get_by_role("region", name="Users that differ").get_by_role("rowheader")
    expect(users.filter(has_text="123456")).to_have_text(["123456", "1234567890123456789"])
