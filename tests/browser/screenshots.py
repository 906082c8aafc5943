"""The pictures in README.md: `python -m tests.browser.screenshots` writes them to docs/img/."""

import random
import shutil
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.service import Files, Service, faulty, running, sample
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "img"
BYTES_MAX = 150_000
WIDTH, HEIGHT, PHONE_WIDTH = 1200, 780, 390

_FIRST = ["Ada", "Bea", "Carl", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jana", "Kofi", "Lin"]
_LAST = ["Abel", "Berg", "Cho", "Diaz", "Endo", "Faro", "Gruber", "Haas", "Ito", "Jung", "Kaya", "Lund"]


def lab(users: int, seed: int) -> Files:
    """A dataset like that of a lab of so many, with the sample's compounds."""
    draw = random.Random(seed)
    people = ["user_id,name,email,signup_date"]
    experiments = ["experiment_id,user_id,experiment_compound_ids,experiment_run_time"]
    for user in range(1, users + 1):
        first, last = draw.choice(_FIRST), draw.choice(_LAST)
        day = date(2024, 1, 1) + timedelta(days=draw.randrange(540))
        people.append(f"{user},{first} {last},{first.lower()}.{last.lower()}{user}@example.com,{day}")
        for _ in range(int(draw.gammavariate(1.6, 3))):
            compounds = ";".join(str(min(12, 1 + int(draw.expovariate(0.3)))) for _ in range(draw.randint(1, 4)))
            experiments.append(f"{len(experiments)},{user},{compounds},{draw.gammavariate(3, 4):.2f}")
    return sample(users="\n".join([*people, ""]).encode(), user_experiments="\n".join([*experiments, ""]).encode())


def _prepare(service: Service) -> dict[str, str]:
    """Fill the service; return the place of each picture."""
    service.run("default")
    for users in (310, 324, 331):
        service.publish("synthesis", lab(users, seed=7))
    service.publish("screening", sample())
    job = service.publish("screening", faulty())
    service.run("synthesis", mode="dry_run")
    return {
        "overview": "#/",
        "job": f"#/jobs/{job['id']}",
        "features": "#/features/synthesis?sort=-total_experiments",
        "charts": "#/features/synthesis?view=charts",
    }


def _picture(browser: Browser, address: str, name: str, *, width: int, dark: bool) -> None:
    context = browser.new_context(
        color_scheme="dark" if dark else "light",
        viewport={"width": width, "height": HEIGHT if width == WIDTH else 844},
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    expect(page.locator("main h2").first).to_be_visible()
    expect(page.locator("main .loading")).to_have_count(0)
    if "charts" in address:
        expect(page.locator(".chart svg")).to_have_count(4)
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path)
    context.close()
    assert path.stat().st_size <= BYTES_MAX, f"{path} is larger than {BYTES_MAX} bytes"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="etl-") as directory, running(Path(directory)) as service:
        places = _prepare(service)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name, place in places.items():
                _picture(browser, f"{service.url}/{place}", name, width=WIDTH, dark=name == "charts")
            _picture(browser, f"{service.url}/{places['overview']}", "phone", width=PHONE_WIDTH, dark=True)
            browser.close()


if __name__ == "__main__":
    main()
