"""Only regular files directly in the dataset's directory are opened, and a change during the read is seen."""

import gzip
import os
from pathlib import Path

import pytest

from etl import files
from etl.contract import COMPOUNDS, USERS
from etl.errors import BadInput
from etl.files import Source
from tests.etl.conftest import dataset_in, write


def _open(directory: Path, *, file_bytes_max: int = 1 << 30) -> bytes:
    with dataset_in(directory, file_bytes_max=file_bytes_max).open(USERS) as source:
        return b"".join(source.content())


def _refused(directory: Path) -> BadInput:
    with pytest.raises(BadInput) as refused:
        _open(directory)
    return refused.value


def test_a_plain_and_a_compressed_file_have_the_same_content(tmp_path: Path) -> None:
    plain, compressed = write(tmp_path / "a"), tmp_path / "b"
    compressed.mkdir()
    (compressed / "users.csv.gz").write_bytes(gzip.compress((plain / "users.csv").read_bytes()))

    assert _open(plain) == _open(compressed)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = _refused(tmp_path)

    assert error.code == "missing_file"
    assert "users.csv" in error.detail


def test_a_missing_directory_is_a_missing_file(tmp_path: Path) -> None:
    assert _refused(tmp_path / "nowhere").code == "missing_file"


def test_both_forms_of_one_file_are_ambiguous(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "users.csv.gz").write_bytes(gzip.compress(b"x"))

    assert _refused(tmp_path).code == "ambiguous_file"


def test_a_file_that_holds_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_bytes(b"x" * 101)

    with pytest.raises(BadInput, match=r"users\.csv: the file holds more than 100 bytes \(MAX_FILE_BYTES\)") as refused:
        _open(tmp_path, file_bytes_max=100)

    assert refused.value.code == "too_large"
    assert len(_open(tmp_path, file_bytes_max=101)) == 101


def test_what_a_compressed_file_holds_counts_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "READ_BYTES", 1 << 16)
    (tmp_path / "users.csv.gz").write_bytes(gzip.compress(bytes(64 << 20)))
    allowed = 1 << 20

    with dataset_in(tmp_path, file_bytes_max=allowed).open(USERS) as source:
        blocks: list[bytes] = []
        with pytest.raises(BadInput) as refused:
            blocks.extend(source.content())

    assert refused.value.code == "too_large"
    assert source.snapshot.size_bytes < 1 << 16, "the rest of the file was not read"


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(os.urandom(100_000))
    for damaged in (content[:-9], b"no gzip at all", content + b"more"):
        (tmp_path / "users.csv.gz").write_bytes(damaged)

        assert _refused(tmp_path).code == "encoding"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "users.csv").symlink_to(outside / "users.csv")

    assert _refused(inside).code == "not_a_regular_file"
    (tmp_path / "linked").symlink_to(outside)
    assert _refused(tmp_path / "linked").code == "missing_file"


def test_a_directory_a_pipe_and_a_device_are_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.mkdir()
    assert _refused(tmp_path).code == "not_a_regular_file"
    path.rmdir()
    os.mkfifo(path)
    assert _refused(tmp_path).code == "not_a_regular_file"


@pytest.mark.parametrize("change", ["append", "truncate", "rewrite"])
def test_a_file_that_is_written_to_during_the_read_is_refused(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path) / "users.csv"
    content = path.read_bytes()
    read = Source.readinto

    def readinto(self: Source, buffer: object) -> int:
        count = read(self, buffer)
        match change:
            case "append":
                path.write_bytes(content + b"9,x,y,2024-01-01\n")
            case "truncate":
                os.truncate(path, 10)
            case "rewrite":
                path.write_bytes(content)
                os.utime(path, ns=(0, 0))
        return count

    monkeypatch.setattr(Source, "readinto", readinto)

    assert _refused(tmp_path).code == "input_changed"


@pytest.mark.parametrize("change", ["replace", "remove", "rewrite in place", "link"])
def test_a_file_that_changes_while_another_one_is_read_is_refused(change: str, tmp_path: Path) -> None:
    dataset, path = dataset_in(write(tmp_path)), tmp_path / "users.csv"
    before, content = path.stat(), path.read_bytes()
    read = dataset.snapshots()
    dataset.refuse_changes(read)

    match change:
        case "replace":
            (tmp_path / "new.csv").write_bytes(content + b"9,x,y,2024-01-01\n")
            (tmp_path / "new.csv").rename(path)
        case "remove":
            path.unlink()
        case "rewrite in place":
            path.write_bytes(content.replace(b"Ann", b"Eve"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "link":
            path.rename(tmp_path / "old.csv")
            path.symlink_to(tmp_path / "old.csv")

    with pytest.raises(BadInput, match=r"users\.csv") as refused:
        dataset.refuse_changes(read)
    assert refused.value.code == "input_changed"


def test_what_is_found_wrong_with_a_file_that_is_being_written_to_is_the_writing(tmp_path: Path) -> None:
    path = write(tmp_path) / "compounds.csv"

    def read_what_somebody_is_writing() -> None:
        with dataset_in(tmp_path).open(COMPOUNDS):
            path.write_text("half a line")
            raise BadInput("unterminated_quote", "compounds.csv line 3")

    with pytest.raises(BadInput) as refused:
        read_what_somebody_is_writing()

    assert refused.value.code == "input_changed"
