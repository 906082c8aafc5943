"""JSON as the API writes it: compact, in the order given, dates in ISO form."""

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
