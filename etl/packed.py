"""The embedded engine's own ways where there are many rows; etl/validate.py and etl/features.py have the definitions.

To each user's most common compound: each use becomes one number (user x compounds + compound). Sorted, the equal ones
stand together, and so do a user's: that takes a tenth of the time, and a fraction of the memory, of a hash table with
an entry for each user and compound. What is too much to be sorted at once is parted by user, and waits in files.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.queries import Query

if TYPE_CHECKING:
    from etl.engines import DuckDB

# So many bytes of keys are sorted at once, and so many keys then looked at.
PART_BYTES = 128 << 20
_SLICE_KEYS = 1 << 21

_PARTS_MAX = 256  # files that are open at the same time

# A table of codes may be so much larger than the number of ids, or than that.
_SPARSE, _SMALL = 4, 1 << 20

_NONE = -1


class Experiments(NamedTuple):
    """Some of the accepted experiments: who made each, how many compounds it lists, and all of these."""

    user_ids: np.ndarray
    sizes: np.ndarray
    compound_ids: np.ndarray


class MostCommon(NamedTuple):
    """Of some users with at least one use: how often each used what he used most, how many compounds tie, and these.

    Compounds are told by their places among all compounds in ascending order.
    """

    user_ids: np.ndarray
    uses: np.ndarray
    sizes: np.ndarray
    compounds: np.ndarray


def make_lines_with_wrong_items(engine: "DuckDB", query: Query) -> None:
    """Look for them only where fewer items became uses than there are."""
    [listed] = engine.table("SELECT sum(len(experiment_compound_ids)) FROM clean_user_experiments").columns
    [uses] = engine.table("SELECT uses FROM use_count").columns
    wanted = query.sql if listed[0].as_py() != uses[0].as_py() else f"FROM ({query.sql}) LIMIT 0"
    engine.execute(f"CREATE TABLE {query.name} AS {wanted}")


def make_most_common_compound(engine: "DuckDB", query: Query) -> None:
    [users] = engine.table("SELECT user_id FROM clean_users").columns
    compounds, names = engine.table("SELECT compound_id, compound_name FROM clean_compounds ORDER BY 1").columns
    per_user = "SELECT user_id, sum(len(experiment_compound_ids))::BIGINT"
    lists = "FROM clean_user_experiments WHERE len(experiment_compound_ids) > 0"
    [uses_max] = engine.table(f"SELECT coalesce(sum(len(experiment_compound_ids)), 0)::BIGINT {lists}").columns
    experiments = engine.query(f"SELECT user_id, experiment_compound_ids {lists}")
    engine.create(query.name, _SCHEMA)
    for found in most_common(
        users.to_numpy(),
        compounds.to_numpy(),
        (_experiments(*batch.columns) for batch in experiments),
        uses_max=uses_max[0].as_py(),
        uses_per_user=lambda: _uses_per_user(*engine.table(f"{per_user} {lists} GROUP BY user_id").columns),
        directory=engine.spill_directory,
        check=engine.refuse_interruption,
    ):
        engine.append(query.name, _rows(found, compounds, names))


_SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("most_common_compound_uses", pa.int64()),
        ("most_common_compound_id", pa.int64()),
        ("most_common_compound_name", pa.string()),
        ("most_common_compound_ids", pa.list_(pa.int64())),
    ]
)


def _experiments(user_ids: pa.Array, lists: pa.ListArray) -> Experiments:
    sizes, compound_ids = np.diff(lists.offsets.to_numpy()), lists.flatten()
    if compound_ids.null_count:
        known = compound_ids.is_valid()
        sizes = np.bincount(pc.list_parent_indices(lists).filter(known), minlength=len(lists))
        compound_ids = compound_ids.filter(known)
    return Experiments(user_ids.to_numpy(), sizes, compound_ids.to_numpy())


def _uses_per_user(user_ids: pa.ChunkedArray, uses: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    return user_ids.to_numpy(), uses.to_numpy()


def _rows(found: MostCommon, compounds: pa.ChunkedArray, names: pa.ChunkedArray) -> pa.Table:
    offsets = np.concatenate([[0], np.cumsum(found.sizes)])
    first = found.compounds[offsets[:-1]]
    ids = compounds.take(found.compounds).combine_chunks()
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), ids)
    return pa.table([found.user_ids, found.uses, compounds.take(first), names.take(first), lists], schema=_SCHEMA)


class Codes:
    """Ids <-> their places in ascending order."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = np.sort(ids)
        self._table: np.ndarray | None = None
        if len(ids):
            self._low, high = self.ids[0], self.ids[-1]
            if int(high) - int(self._low) < _SPARSE * len(ids) + _SMALL:
                self._table = np.full(high - self._low + 2, _NONE, np.int32)  # the last is for all out of range
                self._table[self.ids - self._low] = np.arange(len(ids), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """Return the code of each id; _NONE where it is unknown."""
        if not len(self):
            return np.full(len(ids), _NONE, np.int32)
        if self._table is not None:
            # As a number without a sign, what is too small is too large.
            places = np.minimum((ids - self._low).view(np.uint64), np.uint64(len(self._table) - 1))
            codes: np.ndarray = self._table[places]
            return codes
        places = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        return np.where(self.ids[places] == ids, places, _NONE)


def most_common(
    users: np.ndarray,
    compounds: np.ndarray,
    experiments: Iterator[Experiments],
    *,
    uses_max: int,
    uses_per_user: Callable[[], tuple[np.ndarray, np.ndarray]],
    directory: Path,
    check: Callable[[], None] = lambda: None,
) -> Iterator[MostCommon]:
    """Yield the most common compounds of all users with any, ascending; other compounds than these count for nothing.

    There are at most `uses_max` uses. Where they are too many, `uses_per_user` is asked who has how many, and files are
    made in `directory`. `check` is called every second or so; what it raises ends the work.
    """
    keys = _Keys(Codes(users), Codes(compounds))
    with ExitStack() as stack:
        parts: _InMemory | _InFiles
        if uses_max * keys.dtype.itemsize <= PART_BYTES:
            parts = _InMemory(keys, uses_max)
        else:
            parts = _InFiles(keys, keys.parts(uses_max, *uses_per_user()), directory, stack)
        for some in experiments:
            parts.add(keys.of(some))
        for pieces in parts.pieces():
            for unique, counts in _counted(keys, pieces, check):
                check()
                yield keys.winners(unique, counts)


class _Keys:
    """Uses as numbers: first by user, then by compound."""

    def __init__(self, users: Codes, compounds: Codes) -> None:
        self._users, self._compounds = users, compounds
        span = len(users) * len(compounds)
        self.dtype: np.dtype[np.unsignedinteger] = np.dtype(np.uint32 if span < 1 << 32 else np.uint64)
        self.per_user = self.dtype.type(max(1, len(compounds)))

    def parts(self, uses_max: int, user_ids: np.ndarray, uses: np.ndarray) -> np.ndarray:
        """Return the first key of every part but the first; a part has about PART_BYTES, or a user who has more."""
        parts = min(-(-uses_max * self.dtype.itemsize // PART_BYTES), _PARTS_MAX)
        per_user = np.zeros(len(self._users))
        per_user[self._users.of(user_ids)] = uses
        until = np.cumsum(per_user)
        firsts = np.unique(np.searchsorted(until, np.arange(1, parts) * (until[-1] / parts), side="right"))
        firsts = firsts[firsts < len(self._users)].astype(self.dtype)
        keys: np.ndarray = firsts * self.per_user
        return keys

    def of(self, some: Experiments) -> np.ndarray:
        compounds = self._compounds.of(some.compound_ids)
        firsts = self._users.of(some.user_ids).astype(self.dtype) * self.per_user
        keys = np.repeat(firsts, some.sizes)
        keys += compounds.astype(self.dtype)
        known = compounds != _NONE
        return keys if known.all() else keys[known]

    def end_of_user(self, key: np.unsignedinteger) -> np.unsignedinteger:
        """The last key that the user of this one can have."""
        end: np.unsignedinteger = key - key % self.per_user + (self.per_user - self.dtype.type(1))
        return end

    def winners(self, unique: np.ndarray, counts: np.ndarray) -> MostCommon:
        """What the keys of whole users come to."""
        users = unique // self.per_user
        starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
        uses = np.maximum.reduceat(counts, starts)
        tie = counts == np.repeat(uses, np.diff(starts, append=len(users)))
        return MostCommon(
            self._users.ids[users[starts]],
            uses,
            np.add.reduceat(tie, starts, dtype=np.int64),
            unique[tie] % self.per_user,
        )


class _InMemory:
    """All keys, as one part in one piece."""

    def __init__(self, keys: _Keys, uses_max: int) -> None:
        self._keys = np.empty(uses_max, keys.dtype)
        self._filled = 0

    def add(self, keys: np.ndarray) -> None:
        self._keys[self._filled : self._filled + len(keys)] = keys
        self._filled += len(keys)

    def pieces(self) -> Iterator[Iterator[np.ndarray]]:
        yield iter([self._keys[: self._filled]])


class _InFiles:
    """Parts of whole users, each read in pieces of PART_BYTES: one, unless a user has more than that."""

    def __init__(self, keys: _Keys, firsts: np.ndarray, directory: Path, stack: ExitStack) -> None:
        self._dtype = keys.dtype
        self._firsts = firsts
        self._files: list[IO[bytes]] = [
            stack.enter_context(TemporaryFile(dir=directory))  # noqa: SIM115 - the stack closes it
            for _ in range(len(firsts) + 1)
        ]

    def add(self, keys: np.ndarray) -> None:
        keys.sort()
        for file, of_file in zip(self._files, np.split(keys, np.searchsorted(keys, self._firsts)), strict=True):
            file.write(of_file.data)

    def pieces(self) -> Iterator[Iterator[np.ndarray]]:
        for file in self._files:
            file.seek(0)
            yield self._read(file)
            file.close()

    def _read(self, file: IO[bytes]) -> Iterator[np.ndarray]:
        while content := file.read(PART_BYTES):
            yield np.frombuffer(bytearray(content), self._dtype)


def _counted(
    keys: _Keys, pieces: Iterator[np.ndarray], check: Callable[[], None]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the different keys of a part, ascending, and how often each occurs; a user's are never separated."""
    piece = next(pieces, None)
    following = next(pieces, None)
    if piece is None:
        return
    piece.sort()
    if following is None:
        yield from map(_runs, _slices(keys, piece))
        return
    unique, counts = _runs(piece)
    while following is not None:
        check()
        following.sort()
        unique, counts = _together(unique, counts, *_runs(following))
        following = next(pieces, None)
    yield unique, counts


def _slices(keys: _Keys, ascending: np.ndarray) -> Iterator[np.ndarray]:
    """Cut keys between users into slices of about _SLICE_KEYS."""
    start = 0
    while start < len(ascending):
        last = ascending[min(start + _SLICE_KEYS, len(ascending)) - 1]
        end = int(np.searchsorted(ascending, keys.end_of_user(last), side="right"))
        yield ascending[start:end]
        start = end


def _runs(ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    starts = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    return ascending[starts], np.diff(starts, append=len(ascending))


def _together(
    unique: np.ndarray, counts: np.ndarray, others: np.ndarray, counts_of_others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    every = np.concatenate([unique, others])
    order = np.argsort(every, kind="stable")
    every = every[order]
    starts = np.flatnonzero(np.concatenate([[True], every[1:] != every[:-1]]))
    return every[starts], np.add.reduceat(np.concatenate([counts, counts_of_others])[order], starts)
