"""JSON as the API writes it: compact, in the order given, dates in ISO form; and as it reads it: each name once."""

from datetime import date
from typing import Any

from flask.json.provider import DefaultJSONProvider


class IsoJSON(DefaultJSONProvider):
    sort_keys = False
    compact = True
    ensure_ascii = False

    @staticmethod
    def default(value: Any) -> Any:
        """Flask's own way to write a date is that of HTTP headers."""
        return value.isoformat() if isinstance(value, date) else DefaultJSONProvider.default(value)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """Raise ValueError also where an object has a name twice: which one is meant cannot be known."""
        return super().loads(s, object_pairs_hook=_object, **kwargs)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name is there twice")
    return value
