"""The documents: what they tell a person to type is typed, and what they point to is there."""

import re
from pathlib import Path

import pytest

from tests import documents
from tests.conftest import ROOT
from tests.documents import DOCUMENTS, LANGUAGES

LINK = re.compile(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_block_is_run_or_says_why_it_is_not(document: Path) -> None:
    for block in documents.blocks(document):
        assert block.language in LANGUAGES, block.text
        assert (block.language == "shell") == block.has_reason, block.text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for path, fragment in LINK.findall(document.read_text()):
        target = document.parent / path if path else document
        assert target.exists(), path
        if fragment:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert fragment[1:] in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


def test_a_command_is_told_from_what_it_prints() -> None:
    block = documents.Block("console", "", "$ echo 1 \\\n>   2\n1 2\n$ true\n", has_reason=False)

    assert [(each.text, each.output) for each in documents.commands(block)] == [
        ("echo 1 \\\n  2", "1 2\n"),
        ("true", ""),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "is_shown"),
    [
        ("{'id': 1,\n 'b': ...}", "{'id':1, 'b':{'c':2}}", True),
        ("at 2026-11-22T17:24:46.735585+00:00", "at 2027-01-01 00:00:00+00", True),
        ("01a20449-f952-713d-883d-a11aba2a7acc", "01a217de-da55-74a8-b0c1-6d8a988803ce", True),
        ("12", "13", False),
        ("1", "12", False),
    ],
)
def test_what_is_shown_is_compared_but_for_ids_and_times(shown: str, printed: str, is_shown: bool) -> None:
    assert documents.is_shown(shown, printed) is is_shown


def test_a_feature_is_added_as_is_described(tmp_path: Path) -> None:
    documents.follow(ROOT / "docs/add-a-feature.md", documents.checkout(tmp_path), {})


def test_what_is_typed_to_contribute_is_there(tmp_path: Path) -> None:
    documents.follow(ROOT / "CONTRIBUTING.md", documents.checkout(tmp_path), {})
