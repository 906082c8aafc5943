"""GET /api/v1/features?sort=&search="""

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from api import parameters, rows
from tests.api.conftest import problem
from tests.conftest import InProcess
from worker import indices, versions
from worker.jobs import Job

PATH = "/api/v1/features"
COLUMNS = ("user_id", "name", "email", "signup_date", "total_experiments", "average_run_time")


def _add_users(data_dir: Path, *users: str) -> None:
    with (data_dir / "users.csv").open("a") as file:
        file.writelines(f"\n{user},2024-01-01" for user in users)


@pytest.fixture
def published(in_process: InProcess) -> Job:
    """The sample, in which users share values and some have none, and some whose names differ in case."""
    users = ("20,bob,zoe@example.com", "21,ÉMILE,x%y@example.com", "22,émilie,x_y@example.com", "-9,aA,AA@example.com")
    _add_users(in_process.settings.data_dir, *users)
    return in_process.run()


def _items(client: FlaskClient, **query: Any) -> list[dict[str, Any]]:
    response = client.get(PATH, query_string=query)
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.get_json()["items"]
    return items


def _ids(client: FlaskClient, **query: Any) -> list[int]:
    return [item["user_id"] for item in _items(client, **query)]


def _pages(client: FlaskClient, **query: Any) -> list[dict[str, Any]]:
    page = client.get(PATH, query_string=query).get_json()
    items: list[dict[str, Any]] = page["items"]
    while page["next_cursor"]:
        page = client.get(PATH, query_string=query | {"cursor": page["next_cursor"]}).get_json()
        items += page["items"]
    return items


def _sorted(items: list[dict[str, Any]], column: str, *, descends: bool) -> list[dict[str, Any]]:
    """Sort as Python does: with a stable sort, rows with equal values stay sorted by user_id."""
    items = sorted(items, key=lambda item: item["user_id"])
    with_value = [item for item in items if item[column] is not None]

    def key(item: dict[str, Any]) -> Any:
        return item[column].lower() if isinstance(item[column], str) else item[column]

    return sorted(with_value, key=key, reverse=descends) + [item for item in items if item[column] is None]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("search", ["", "a", "b"])
def test_users_are_sorted_by_a_column_and_the_pages_together_are_the_list(
    client: FlaskClient, column: str, sign: str, search: str
) -> None:
    expected = _sorted(_items(client, search=search), column, descends=bool(sign))
    assert expected

    assert _items(client, sort=f"{sign}{column}", search=search) == expected
    for limit in (1, 3, len(expected)):
        assert _pages(client, sort=f"{sign}{column}", search=search, limit=limit) == expected


@pytest.mark.usefixtures("published")
def test_users_without_a_value_come_last_in_either_direction(client: FlaskClient) -> None:
    for sort in ("average_run_time", "-average_run_time"):
        for search in ("", "a"):
            values = [item["average_run_time"] for item in _items(client, sort=sort, search=search)]
            with_value = [value for value in values if value is not None]
            assert with_value
            assert values == with_value + [None] * (len(values) - len(with_value))
            assert None in values


def test_sorted_pages_stay_with_their_version_while_another_is_published(
    client: FlaskClient, in_process: InProcess, published: Job
) -> None:
    whole = _items(client, sort="-name")
    first = client.get(f"{PATH}?sort=-name&limit=4").get_json()
    _add_users(in_process.settings.data_dir, "30,zz,zz@example.com", "31,aaa,aaa@example.com")
    in_process.run()

    second = client.get(f"{PATH}?sort=-name&cursor={first['next_cursor']}").get_json()

    assert first["items"] + second["items"] == whole
    assert {item["job_id"] for item in whole} == {str(published.id)}


@pytest.mark.usefixtures("published")
def test_sorted_pages_whose_version_was_dropped_are_a_404(client: FlaskClient, in_process: InProcess) -> None:
    cursor = client.get(f"{PATH}?sort=name&limit=4").get_json()["next_cursor"]
    in_process.run(force=True)
    versions.drop_old(in_process.engine, keep=1)

    problem(client.get(f"{PATH}?sort=name&cursor={cursor}"), 404, "unknown_version")


@pytest.mark.usefixtures("published")
def test_a_user_is_found_by_the_beginning_of_the_name_or_the_email_in_either_case(client: FlaskClient) -> None:
    assert _ids(client, search="BO") == [2, 20]
    assert _ids(client, search="Zoe@") == [20]
    assert _ids(client, search="émil") == _ids(client, search="ÉMIL") == [21, 22]
    assert _ids(client, search="aa") == [-9]
    assert _ids(client, search=" bob ") == [2, 20]
    assert _ids(client, search="ob") == []
    assert len(_ids(client, search=" ")) == 18


@pytest.mark.usefixtures("published")
def test_a_user_is_found_by_the_whole_id(client: FlaskClient) -> None:
    assert _ids(client, search="2") == [2]
    assert _ids(client, search="-9") == [-9]
    assert _ids(client, search="002") == [2]
    for text in ("9223372036854775807", "9223372036854775808", "-9999999999999999999", "\u0662", "1_0"):
        assert _ids(client, search=text) == []


@pytest.mark.usefixtures("published")
def test_what_is_searched_for_is_no_pattern(client: FlaskClient) -> None:
    assert _ids(client, search="x%") == [21]
    assert _ids(client, search="x_") == [22]
    assert _ids(client, search="%") == _ids(client, search="_ob") == _ids(client, search="x\\") == []


@pytest.mark.usefixtures("published")
def test_search_and_user_id_are_both_met(client: FlaskClient) -> None:
    assert _ids(client, search="bob", user_id=20) == [20]
    assert _ids(client, search="bob", user_id=3) == []
    assert _ids(client, sort="-name", user_id=3) == [3]


@pytest.mark.usefixtures("published")
def test_of_very_many_users_that_are_found_the_first_are_shown(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "FOUND_MAX", 1)

    assert _ids(client, search="bo") == [2]
    assert _ids(client, search="a", sort="-name") == _ids(client, search="a", sort="name") != []


@pytest.mark.usefixtures("published")
def test_an_order_that_is_not_offered_is_refused(client: FlaskClient) -> None:
    for text in ("most_common_compound_ids", "--name", "", "name;", "job_id"):
        assert problem(client.get(PATH, query_string={"sort": text}), 422, "invalid_parameter")["parameter"] == "sort"
    assert client.get(f"{PATH}?search=a%00b").status_code == 422


@pytest.mark.usefixtures("published")
def test_a_sorted_page_after_a_user_who_is_not_there_is_refused(client: FlaskClient) -> None:
    cursor = client.get(f"{PATH}?limit=1").get_json()["next_cursor"]
    version = parameters.unpack_cursor(cursor)[0]
    made_up = parameters.pack_cursor(version, 99)

    problem(client.get(f"{PATH}?sort=name&cursor={made_up}"), 422, "invalid_parameter")


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("sort", [sort for sort in rows.SORTS if sort.removeprefix("-") in indices.KEYS])
def test_a_page_is_read_from_the_index_of_its_order(
    sort: str, in_process: InProcess, published: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indices, "_LARGE_BYTES", 0)
    indices.make_missing(in_process.engine, in_process.settings)
    sent: list[tuple[str, Any]] = []

    def note(*given: Any) -> None:
        sent.append((given[2], given[3]))

    sa.event.listen(in_process.engine, "before_cursor_execute", note)
    try:
        with in_process.engine.connect() as connection:
            [*_, last] = rows.Rows(connection, published.id).page(5, sort=sort)
            rows.Rows(connection, published.id).page(5, sort=sort, after=last["user_id"])
    finally:
        sa.event.remove(in_process.engine, "before_cursor_execute", note)

    index = f" using by_{sort.removeprefix('-')}_"
    ordered = [(statement, values) for statement, values in sent if "ORDER BY" in statement]
    assert len(ordered) >= 2
    with in_process.engine.connect() as connection:
        # Of so few rows all would be read.
        connection.execute(sa.text("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off"))
        for statement, values in ordered:
            found = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars()
            plan = "\n".join(found)
            assert index in plan, plan
            # Ids of equal keys are sorted where keys descend: as many as a page holds.
            assert not re.search(r"(?<!Incremental )Sort  ", plan), plan
