"""What is wrong with a line, and what becomes of every line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etl import account, contract, engines, publish, queries, reader, validate
from etl.account import TooManyRejections
from etl.arrow import ArrowParser
from etl.contract import MESSAGES, ItemCode, LineCode
from etl.embedded import DuckDB
from etl.extract import extract
from etl.progress import unheard
from etl.queries import Query
from tests.etl.conftest import Service, dataset_in, write

USERS = "user_id,name,email,signup_date\n"
COMPOUNDS = "compound_id,compound_name,compound_structure\n"
EXPERIMENTS = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"

# The line after the header and what is wrong with it: column, code, value.
USER_LINES = [
    (",n,e,2024-01-01", "user_id", "missing_value", None),
    ("1.0,n,e,2024-01-01", "user_id", "invalid_integer", "1.0"),
    ("1e3,n,e,2024-01-01", "user_id", "invalid_integer", "1e3"),
    ("1_0,n,e,2024-01-01", "user_id", "invalid_integer", "1_0"),
    ("0x1F,n,e,2024-01-01", "user_id", "invalid_integer", "0x1F"),
    ("\u0661,n,e,2024-01-01", "user_id", "invalid_integer", "\u0661"),  # a digit, but not an ASCII one
    ("9223372036854775808,n,e,2024-01-01", "user_id", "out_of_range", "9223372036854775808"),
    ("-9223372036854775809,n,e,2024-01-01", "user_id", "out_of_range", "-9223372036854775809"),
    ("1,,e,2024-01-01", "name", "missing_value", None),
    ("1,n, ,2024-01-01", "email", "missing_value", None),
    ("1,n,e,", "signup_date", "missing_value", None),
    ("1,n,e,soon", "signup_date", "invalid_date", "soon"),
    ("1,n,e,2024-02-30", "signup_date", "invalid_date", "2024-02-30"),
    ("1,n,e,01/02/2024", "signup_date", "invalid_date", "01/02/2024"),
    ("1,n,e,2024-1-2", "signup_date", "invalid_date", "2024-1-2"),
    ("1,n,e,2024-01-01T00:00", "signup_date", "invalid_date", "2024-01-01T00:00"),
    ("1,n,e,0000-01-01", "signup_date", "invalid_date", "0000-01-01"),
    ("1,n,e", None, "wrong_field_count", "1,n,e"),
    ("x,,e,soon", "user_id", "invalid_integer", "x"),  # the first thing that is wrong is told
]
EXPERIMENT_LINES = [
    ("1,2,1,1", "user_id", "unknown_user", "2"),
    ("1,x,1,1", "user_id", "invalid_integer", "x"),
    ("1,1,1,", "experiment_run_time", "missing_value", None),
    ("1,1,1,long", "experiment_run_time", "invalid_number", "long"),
    ("1,1,1,1_0", "experiment_run_time", "invalid_number", "1_0"),
    ('1,1,1,"1,5"', "experiment_run_time", "invalid_number", "1,5"),
    ("1,1,1,-0.5", "experiment_run_time", "out_of_range", "-0.5"),
    ("1,1,1,nan", "experiment_run_time", "out_of_range", "nan"),
    ("1,1,1,-Infinity", "experiment_run_time", "out_of_range", "-Infinity"),
    ("1,1,1,1e999", "experiment_run_time", "out_of_range", "1e999"),
]


@pytest.mark.parametrize(("line", "column", "code", "value"), USER_LINES)
def test_a_user_that_cannot_be_used_is_rejected(
    line: str, column: str | None, code: str, value: str | None, service: Service, tmp_path: Path
) -> None:
    write(tmp_path, users=USERS + "7,n,e,2024-01-01\n" + line + "\n", user_experiments=EXPERIMENTS)

    service.run(tmp_path)

    assert service.rejections() == [("users.csv", 3, column, code, value)]
    assert [row["user_id"] for row in service.features()] == [7]


@pytest.mark.parametrize(("line", "column", "code", "value"), EXPERIMENT_LINES)
def test_an_experiment_that_cannot_be_used_is_rejected(
    line: str, column: str, code: str, value: str | None, service: Service, tmp_path: Path
) -> None:
    write(tmp_path, user_experiments=EXPERIMENTS + line + "\n")

    service.run(tmp_path)

    assert service.rejections() == [("user_experiments.csv", 2, column, code, value)]
    assert service.summary()["total_experiments"] == 0


def test_extreme_values_that_are_allowed_arrive_as_they_are(service: Service, tmp_path: Path) -> None:
    write(
        tmp_path,
        users=USERS
        + '-9223372036854775808,"O\'Brien \\N ""q""\nx",e,0001-01-01\n'
        + "+9223372036854775807,\u00e9\U0001f600,e,9999-12-31\n",
        user_experiments=EXPERIMENTS + "007,9223372036854775807,1,1e300\n8,-9223372036854775808,1,.5\n",
    )

    service.run(tmp_path, max_rejected_ratio=0)

    first, last = service.features()
    assert (first["user_id"], first["name"], str(first["signup_date"])) == (
        -(2**63),
        'O\'Brien \\N "q"\nx',
        "0001-01-01",
    )
    assert (last["user_id"], last["name"], last["average_run_time"]) == (2**63 - 1, "\u00e9\U0001f600", 1e300)


def test_items_that_do_not_count_leave_the_experiment_accepted(service: Service, tmp_path: Path) -> None:
    write(tmp_path, user_experiments=EXPERIMENTS + "1,1, 1 ;;x;9;9223372036854775808,1\n2,1,1;,1\n3,1,,1\n")

    service.run(tmp_path, max_rejected_ratio=0)

    column = "experiment_compound_ids"
    assert service.rejections() == [
        ("user_experiments.csv", 2, column, "empty_compound_id", ""),
        ("user_experiments.csv", 2, column, "invalid_compound_id", "9223372036854775808"),
        ("user_experiments.csv", 2, column, "invalid_compound_id", "x"),
        ("user_experiments.csv", 2, column, "unknown_compound", "9"),
        ("user_experiments.csv", 3, column, "empty_compound_id", ""),
    ]
    assert service.summary()["total_experiments"] == 3
    assert service.features()[0]["most_common_compound_uses"] == 2


def test_the_first_of_several_lines_with_one_key_stays(service: Service, tmp_path: Path) -> None:
    lines = ["1,first,e,2024-01-01", "1,other,e,2024-01-01", "1,first,e,2024-01-01", "1,other,e,2024-01-01"]
    write(tmp_path, users=USERS + "\n".join(lines) + "\n", user_experiments=EXPERIMENTS)

    result = service.run(tmp_path)

    [users] = [account for account in result.accounts if account.file == "users.csv"]
    assert (users.read, users.accepted, users.duplicate, users.rejected) == (4, 1, 2, 1)
    assert service.rejections() == [("users.csv", 3, "user_id", "duplicate_key", "1")]
    assert service.features()[0]["name"] == "first"


def test_a_line_that_is_wrong_takes_no_key_away(service: Service, tmp_path: Path) -> None:
    write(tmp_path, users=USERS + "1,wrong,e,soon\n1,right,e,2024-01-01\n", user_experiments=EXPERIMENTS)

    service.run(tmp_path)

    assert service.features()[0]["name"] == "right"


def test_every_line_is_accounted_for(service: Service, tmp_path: Path) -> None:
    write(
        tmp_path,
        users=USERS + "\n".join(line for line, *_ in USER_LINES) + "\n2,a,b,2024-01-01\n2,a,b,2024-01-01\n",
        compounds=COMPOUNDS + "1,Water,\n1,Ice,\nx,y,z\n",
        user_experiments=EXPERIMENTS + "\n".join(line for line, *_ in EXPERIMENT_LINES) + "\n5,2,1\0,1\n6,2",
    )

    result = service.run(tmp_path)

    assert [(account.file, account.read) for account in result.accounts] == [
        ("users.csv", len(USER_LINES) + 2),
        ("compounds.csv", 3),
        ("user_experiments.csv", len(EXPERIMENT_LINES) + 2),
    ]
    assert all(account.reconciled for account in result.accounts)
    lines = [(file, line) for file, line, *_ in service.rejections()]
    tables = [table.file for table in contract.TABLES]
    assert lines == sorted(set(lines), key=lambda place: (tables.index(place[0]), place[1])), "one a line, in order"
    assert len(lines) == sum(account.rejected for account in result.accounts)


def test_more_rejections_than_allowed_fail_the_job(service: Service, tmp_path: Path) -> None:
    write(tmp_path, users=USERS + "1,n,e,2024-01-01\n2,n,e,soon\n", user_experiments=EXPERIMENTS)

    service.run(tmp_path, max_rejected_ratio=0.5)
    with pytest.raises(
        TooManyRejections, match=r"users\.csv: 1 of 2 lines rejected; allowed is a share of 0\.49"
    ) as refused:
        service.run(tmp_path, max_rejected_ratio=0.49)

    assert refused.value.code == "too_many_rejections"
    assert [account.codes for account in refused.value.accounts] == [{"invalid_date": 1}, {}, {}]
    assert [batch["line"].to_pylist() for batch in refused.value.rejections] == [[3]]


def test_rejections_are_counted_by_code(service: Service, tmp_path: Path) -> None:
    write(tmp_path, user_experiments=EXPERIMENTS + "1,1,9;8;;x,1\n2,7,1,1\n3,1,1\n")

    result = service.run(tmp_path)

    assert [account.codes for account in result.accounts] == [
        {},
        {},
        {
            "empty_compound_id": 1,
            "invalid_compound_id": 1,
            "unknown_compound": 2,
            "unknown_user": 1,
            "wrong_field_count": 1,
        },
    ]


def test_a_line_equal_in_value_is_a_duplicate(service: Service, tmp_path: Path) -> None:
    lines = ["1,1,1;2,1.50", "01,+1, 1;2 ,1.5", "1,1,2;1,1.5"]
    write(tmp_path, user_experiments=EXPERIMENTS + "\n".join(lines) + "\n")

    service.run(tmp_path, publication=publish.rehearse)

    codes = [(line, code) for _, line, _, code, _ in service.rejections() if code != "unknown_compound"]
    assert codes == [(4, "duplicate_key")]


ID = st.sampled_from(["1", "2", "3", "+2", "007", " 1 ", "0x1", "1e0", "-1", "x", "", "9223372036854775808"])
ITEMS = st.text("0123;+- \tx.", max_size=8)
NUMBER = st.sampled_from(
    ["1", "1.50", "1.5", ".5", "1.", "+1", "-1", "nan", "Infinity", "1e5", "1e999", "1_0", "0x1", ""]
)
NO_IDS = ["1.0", "1e0", "1_0", "0x1", "1.", "true", "--1", "1-", "1 1", "\u0661"]  # some of which a cast would take
DATE = st.sampled_from(["2024-01-01", "2024-02-30", "0000-01-01", "2024-1-1", "", " 2024-01-01"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    users=st.lists(st.tuples(ID, DATE), max_size=4),
    experiments=st.lists(st.tuples(ID, ID, ITEMS, NUMBER), max_size=6),
)
@example(users=[("1", "2024-01-01")], experiments=[("1", "1", "1;+1;\t1;1 1;-;1-1", "1"), ("2", "1", "1;1;", "1")])
@example(users=[("1", "2024-01-01")], experiments=[(str(n), "1", f"1;{item}", "1") for n, item in enumerate(NO_IDS)])
def test_records_converted_by_arrow_and_by_the_engine_are_the_same(
    users: list[tuple[str, str]],
    experiments: list[tuple[str, str, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(
        tmp_path,
        users=USERS + "".join(f"{id_},n,e,{date}\n" for id_, date in users),
        user_experiments=EXPERIMENTS + "".join(",".join(line) + "\n" for line in experiments),
    )

    # Every line in a piece of its own, so that as many as can be are converted by Arrow.
    monkeypatch.setattr(reader, "_PIECE_BYTES", 1)
    by_arrow = validated(tmp_path)
    monkeypatch.setattr(ArrowParser, "typed", lambda _self, _lines: None)
    assert validated(tmp_path) == by_arrow
    monkeypatch.undo()


@pytest.mark.parametrize(
    "experiments",
    [
        "1,1,1;1,1\n2,1,,2\n",
        "1,1,1,1\n2,2,1,1\n",
        "2,1,1,1\n2,1,1,1\n1,1,1,1\n1,1,,1\n",
        "1,1,1;9,1\n2,1,9,1\n",
        "1,1,1;x,1\n2,1,,1\n",
        "1,1,1,1\n2,1,1,soon\n",
        "1,1,1,1\n2,1,1\n",
    ],
    ids=["nothing", "unknown user", "repeated key", "unknown compound", "no compound", "no number", "no record"],
)
@pytest.mark.usefixtures("way")
def test_where_nothing_is_wrong_the_shorter_steps_come_to_the_same(
    experiments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, user_experiments=EXPERIMENTS + experiments)
    shorter = validated(tmp_path)
    of_steps = queries.of_steps

    def whole(steps: Any, dialect: str) -> list[Query]:
        return [query._replace(wrong=()) for query in of_steps(steps, dialect)]

    monkeypatch.setattr(queries, "of_steps", whole)
    assert validated(tmp_path) == shorter


@pytest.mark.usefixtures("way")
def test_clean_tables_are_as_wide_as_the_contract(etl_engine: DuckDB, tmp_path: Path) -> None:
    """However narrow their records are kept: a sum of 32-bit numbers may be none."""
    extract(dataset_in(write(tmp_path)), etl_engine, unheard)
    etl_engine.make(validate.steps, unheard)

    for table in contract.TABLES:
        made = etl_engine.table(f"FROM clean_{table.name}").schema
        assert made.equals(validate.clean(table).schema().to_pyarrow())


VALIDATED = [
    validate.rejections,
    lambda: validate.clean(contract.USERS),
    lambda: validate.clean(contract.COMPOUNDS),
    lambda: validate.clean(contract.USER_EXPERIMENTS),
    validate.uses,
]


def validated(directory: Path) -> list[list[Any]]:
    """What validation makes of the files in the directory, in any order, and the account."""
    with engines.connect("duckdb", memory_bytes=1 << 28, threads=2, spill_directory=directory / "spill") as engine:
        files = extract(dataset_in(directory), engine, unheard)
        engine.make(validate.steps, unheard)
        rows = [[row for batch in engine.stream(table) for row in batch.to_pylist()] for table in VALIDATED]
        return [*(sorted(table, key=str) for table in rows), [of.as_json() for of in account.take(engine, files)]]


def test_every_code_of_a_line_or_an_item_has_a_sentence() -> None:
    assert set(MESSAGES) == {*LineCode, *ItemCode}
