"""The rows of a version, in each order that is offered, some at a time.

The columns are those of the view, whatever the catalogue has put there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from api import exports, parameters, versions
from worker.database import partition
from worker.exports import Table
from worker.indices import KEYS

Row = dict[str, Any]

BY_ID = "user_id"
SORTS = tuple(f"{sign}{column}" for column in (BY_ID, *KEYS) for sign in ("", "-"))

# Whatever a search is sorted by, it has to look at all that it has found: at no more than these.
FOUND_MAX = 2000

_ID = re.compile(r"-?[0-9]{1,19}")
_LIKE_SIGNS = str.maketrans({sign: rf"\{sign}" for sign in r"\%_"})


# Dataset, job and time are the version's, all others the row's.
_SELECT = """
    SELECT {columns} FROM {source}
    CROSS JOIN (SELECT dataset, computed_at FROM dataset_versions WHERE job_id = :job_id) AS version
    WHERE {condition} ORDER BY {order} LIMIT :limit
"""


@dataclass(frozen=True)
class Stretch:
    """Rows that follow each other."""

    condition: str
    order: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """The rows of a version, or those of them that have an id or are found by a search.

    Without a search, every statement reads a stretch of an index from one of its ends, so that a page costs the same
    wherever it is in the list. That is why, where keys descend, equal ones are a stretch of their own: ids ascend.
    """

    connection: sa.Connection
    job_id: UUID
    user_id: int | None = None
    search: str = ""

    def page(self, limit: int, *, sort: str = BY_ID, after: int | None = None) -> list[Row]:
        """Return the rows that follow that of the user `after`. Raises Problem where the version is going.

        Rows without a value come last in either direction; those with equal values go by user_id.
        """
        column, descends = sort.removeprefix("-"), sort.startswith("-")
        if column == BY_ID:
            stretches = _by_id(descends, after)
        elif self.search:
            stretches = self._of_found(KEYS[column], descends, after)
        else:
            stretches = self._by_key(KEYS[column], descends, after, limit)
        found: list[Row] = []
        for stretch in stretches:
            found += self._select(stretch, limit - len(found))
            if len(found) == limit:
                break
        if len(found) < limit:  # the end of the list, or the version has gone between two statements
            versions.refuse_going(self.connection, self.job_id)
        return found

    def _by_key(self, key: str, descends: bool, after: int | None, limit: int) -> Iterator[Stretch]:
        value = None if after is None else self._key_of(key, after)
        values = {"value": value, "after": after}
        if after is not None and value is None:
            yield Stretch(f"{key} IS NULL AND user_id > :after", "user_id", values)
            return
        if descends:
            if after is not None:
                yield Stretch(f"{key} = :value AND user_id > :after", "user_id", values)
            lower = f"{key} IS NOT NULL" if after is None else f"{key} < :value"
            lowest = self._lowest(key, lower, values | {"limit": limit})
            if lowest is not None:
                yield Stretch(f"{lower} AND {key} > :lowest", f"{key} DESC, user_id", values | {"lowest": lowest})
                yield Stretch(f"{key} = :lowest", "user_id", {"lowest": lowest})
        else:
            higher = f"{key} IS NOT NULL" if after is None else f"({key}, user_id) > (:value, :after)"
            yield Stretch(higher, f"{key}, user_id", values)
        yield Stretch(f"{key} IS NULL", "user_id", {})

    def _of_found(self, key: str, descends: bool, after: int | None) -> Iterator[Stretch]:
        """All that was found is sorted anyway."""
        value = None if after is None else self._key_of(key, after)
        sign, direction = ("<", "DESC") if descends else (">", "ASC")
        condition = "true"
        if value is not None:
            condition = f"({key} {sign} :value OR {key} = :value AND user_id > :after OR {key} IS NULL)"
        elif after is not None:
            condition = f"{key} IS NULL AND user_id > :after"
        yield Stretch(condition, f"{key} {direction} NULLS LAST, user_id", {"value": value, "after": after})

    def _key_of(self, key: str, user_id: int) -> Any:
        """Return the key of a user's row. Raises Problem where there is none."""
        query = f"SELECT {key} FROM user_feature_versions WHERE job_id = :job_id AND user_id = :after"
        found = self.connection.execute(sa.text(query), {"job_id": self.job_id, "after": user_id}).one_or_none()
        if not found:
            versions.refuse_going(self.connection, self.job_id)
            raise parameters.invalid_cursor()
        return found[0]

    def _lowest(self, key: str, condition: str, values: dict[str, Any]) -> Any:
        """Return the lowest of the highest keys, of which a page holds no more."""
        highest = f"SELECT {key} AS key FROM {self._source} WHERE {condition} ORDER BY {key} DESC LIMIT :limit"
        query = f"SELECT min(key) FROM ({highest}) AS highest"
        return self.connection.scalar(sa.text(query), self._values | values)

    def _select(self, stretch: Stretch, limit: int) -> list[Row]:
        statement = _SELECT.format(
            columns=self._columns, source=self._source, condition=stretch.condition, order=stretch.order
        )
        found = self.connection.execute(sa.text(statement), self._values | stretch.values | {"limit": limit})
        return [dict(row) for row in found.mappings()]

    def table(self) -> Table:
        """Return all rows, by user_id, for a file: a search finds every user there."""
        conditions, values = ["job_id = :job_id", "(:after IS NULL OR user_id > :after)"], self._values
        if self.user_id is not None:
            conditions.append("user_id = :user_id")
        if self.search:
            conditions.append(f"({' OR '.join(self._matches.values())})")
        page = _SELECT.format(
            columns=f"user_id AS key, {self._columns}",
            source="user_feature_versions",
            condition=" AND ".join(conditions),
            order="user_id",
        )
        return exports.table(page, versions.INTACT, values | {"partition": partition(self.job_id)})

    @cached_property
    def _columns(self) -> str:
        return ", ".join(f'"{name}"' for name in versions.columns(self.connection))

    @cached_property
    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"job_id": self.job_id}
        if self.user_id is not None:
            values["user_id"] = self.user_id
        if self.search:
            values["beginning"] = f"{self.search.translate(_LIKE_SIGNS)}%"
        return values

    @cached_property
    def _matches(self) -> dict[str, str]:
        """How a search finds a user by each key."""
        found = {KEYS[column]: f"{KEYS[column]} LIKE lower(:beginning)" for column in ("name", "email")}
        if _ID.fullmatch(self.search) and -(1 << 63) <= int(self.search) < 1 << 63:
            found[BY_ID] = f"user_id = {int(self.search)}"
        return found

    @cached_property
    def _source(self) -> str:
        """What pages are selected from."""
        rows = "SELECT * FROM user_feature_versions WHERE job_id = :job_id"
        if self.user_id is not None:
            rows += " AND user_id = :user_id"
        if not self.search:
            return f"({rows}) AS row"
        found = [
            f"({rows} AND {match} ORDER BY {key}, user_id LIMIT {FOUND_MAX})" for key, match in self._matches.items()
        ]
        return f"({' UNION '.join(found)}) AS row"


def _by_id(descends: bool, after: int | None) -> Iterator[Stretch]:
    sign, order = ("<", "user_id DESC") if descends else (">", "user_id")
    yield Stretch("true" if after is None else f"user_id {sign} :after", order, {"after": after})
