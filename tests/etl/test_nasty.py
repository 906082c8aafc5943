"""Datasets made by hand, each with one thing wrong: tests/etl/nasty/<code>[-<variant>].

A folder holds the files that matter, the others are valid, and expected.json:

- `error`: the `code` and a part of the `detail` that the job fails with; or `rejections` (file, line, column, code,
  value), all of them, and the `counts` of a file;
- `max_rejected_ratio` (1 if not given), `absent` files, and files that are `pipes`.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from etl.contract import CODES
from etl.errors import BadInput
from tests.etl.conftest import Service, write

NASTY = Path(__file__).parent / "nasty"
DATASETS = sorted(path.name for path in NASTY.iterdir())


def _prepare(folder: Path, name: str) -> dict[str, Any]:
    """Lay the dataset out in `folder`, and return what is expected of it."""
    expected: dict[str, Any] = json.loads((NASTY / name / "expected.json").read_text())
    write(folder)
    given = [path.name.removesuffix(".gz") for path in (NASTY / name).glob("*.csv*")]
    pipes = expected.get("pipes", [])
    for file in [*given, *pipes, *expected.get("absent", [])]:
        (folder / file).unlink(missing_ok=True)
    shutil.copytree(NASTY / name, folder, symlinks=True, dirs_exist_ok=True)
    for file in pipes:
        os.mkfifo(folder / file)
    return expected


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", DATASETS)
def test_a_nasty_dataset_ends_as_expected(name: str, service: Service, tmp_path: Path) -> None:
    expected = _prepare(tmp_path / "dataset", name)
    ratio = expected.get("max_rejected_ratio", 1)

    if "error" in expected:
        with pytest.raises(BadInput) as refused:
            service.run(tmp_path / "dataset", max_rejected_ratio=ratio)

        assert refused.value.code == expected["error"]["code"]
        assert expected["error"]["detail"] in refused.value.detail
        assert service.query("SELECT FROM rejections") == []
    else:
        result = service.run(tmp_path / "dataset", max_rejected_ratio=ratio)

        assert sorted(service.rejections(), key=str) == sorted(map(tuple, expected["rejections"]), key=str)
        counts = {
            account.file: {name: getattr(account, name) for name in ("read", "accepted", "duplicate", "rejected")}
            for account in result.accounts
        }
        assert counts | expected["counts"] == counts


def test_a_folder_is_named_after_a_code() -> None:
    assert {name.partition("-")[0] for name in DATASETS} <= set(CODES)
