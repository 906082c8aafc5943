"""Examples: of each operation a request as one types it, and what a real server has answered.

The request is put together from the declaration. The answers are recorded by tests/api/test_examples.py, which sends
every request as it is written here, too, and holds the answer against the description.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from api.operations import Operation
from worker import uploads

ADDRESS = "http://127.0.0.1:8000"
RECORDED = Path(__file__).with_name("examples.json")


def answered() -> dict[str, dict[str, Any]]:
    """Return of each operation the status, the media type and the body of its example's answer."""
    recorded: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text())
    return recorded


def curl(method: str, path: str, operation: Operation, *, token: bool) -> str:
    """Return a command for a shell."""
    given = values(operation.path.schema) | dict(operation.example)
    in_path = operation.path.schema["properties"].keys()
    query = {name: value for name, value in given.items() if name not in in_path}
    address = ADDRESS + path.format(**given) + (f"?{urlencode(query)}" if query else "")
    body = values(operation.body.schema) if operation.body else {}
    words = ["curl"]
    if method != ("post" if body else "get"):  # which curl would take by itself
        words += ["-X", method.upper()]
    if body:
        words += ["--json", json.dumps(body)]
    for name in dict.fromkeys(uploads.FILE_NAMES.values()) if operation.takes_files else ():
        words += ["-F", f"f=@{name}"]
    authorization = ['-H "Authorization: Bearer $API_TOKEN"'] if token else []
    return " ".join([*map(shlex.quote, words), *authorization, shlex.quote(address)])


def values(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have an example."""
    return {name: of["examples"][0] for name, of in schema["properties"].items() if "examples" in of}
