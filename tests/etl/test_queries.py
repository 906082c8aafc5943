"""Compiled queries are kept, and never one that is not what the sources say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etl import features, queries, validate
from etl.queries import Query


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the kept queries, which is not there yet."""
    folder = tmp_path / "__pycache__"
    monkeypatch.setattr(queries, "_KEPT", folder)
    monkeypatch.setattr(queries.sys, "dont_write_bytecode", False)  # type: ignore[attr-defined]
    queries.forget()
    yield folder
    queries.forget()


def again() -> list[Query]:
    """What a process gets that has just begun."""
    queries.forget()
    return queries.of_steps(validate.steps, "duckdb")


def test_what_was_compiled_is_not_compiled_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = again()
    [file] = kept.iterdir()
    monkeypatch.setattr(queries, "_sql", None)

    assert again() == first
    assert file.name == "etl.validate.steps.duckdb.json"
    assert {"uses", "rejections"} < {query.name for query in first}


def test_one_expression_is_kept_too(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = queries.of(validate.counts, "duckdb")
    queries.forget()
    monkeypatch.setattr(queries, "_sql", None)

    assert queries.of(validate.counts, "duckdb") == first
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize("what", ["version", "version_of"])
def test_other_sources_or_another_ibis_are_compiled_anew(
    what: str, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = again()
    [file] = kept.iterdir()
    file.write_text(file.read_text().replace("SELECT", "SELECTED"))
    assert again() != first, "what is kept is used"

    monkeypatch.setattr(queries, what, lambda *_: "another")

    assert again() == first


@pytest.mark.usefixtures("kept")
def test_another_catalogue_is_compiled_anew() -> None:
    before = queries.of_steps(features.steps, "duckdb")
    fewer = features.USER_CATALOGUE.features.pop()
    try:
        queries.forget()
        assert len(queries.of_steps(features.steps, "duckdb")) == len(before) - 1
    finally:
        features.USER_CATALOGUE.features.append(fewer)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"made_from": 1}', b"\xff"])
def test_a_damaged_file_is_written_anew(damage: bytes, kept: Path) -> None:
    first = again()
    [file] = kept.iterdir()
    file.write_bytes(damage)

    assert again() == first
    assert json.loads(file.read_text())["queries"] == [list(query) for query in first]


def test_nothing_is_kept_where_byte_code_is_not(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries.sys, "dont_write_bytecode", True)  # type: ignore[attr-defined]

    assert again()
    assert not kept.exists()


def test_a_folder_that_cannot_be_written_is_no_trouble(kept: Path) -> None:
    kept.write_text("a file in its place")

    assert again()


def test_what_a_test_or_a_caller_made_up_is_not_kept(kept: Path) -> None:
    def steps() -> Iterator[Any]:
        yield from validate.steps()

    assert queries.of_steps(steps, "duckdb") == again()
    assert [file.name for file in kept.iterdir()] == ["etl.validate.steps.duckdb.json"]
