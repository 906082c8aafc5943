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
    from etl.embedded import DuckDB

# So many bytes of keys are sorted at once, and so many keys then looked at.
PART_BYTES = 64 << 20
_SLICE_KEYS = 1 << 21

_PARTS_MAX = 256  # files that are open at the same time
_SHORT_KEYS = 1 << 32  # keys below that take half of the room

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


# Is told what share of the work is done.
Tell = Callable[[float], None]


def make_use_count(engine: "DuckDB", query: Query, tell: Tell) -> None:
    """Count, in the same pass, all items of accepted lines too: `item_count`."""
    compounds = Codes(_numbers(engine, "SELECT compound_id FROM clean_compounds"))
    uses = items = lines = 0
    for batch in engine.query("SELECT experiment_compound_ids FROM clean_user_experiments"):
        compound_ids = batch.column(0).flatten()
        items += len(compound_ids)
        uses += int(np.count_nonzero(compounds.of(compound_ids.drop_null().to_numpy()) != _NONE))
        lines += len(batch)
        tell(lines / engine.rows_appended)
    engine.execute(f"CREATE TABLE {query.name} AS SELECT {uses}::BIGINT AS uses")
    engine.execute(f"CREATE TABLE item_count AS SELECT {items}::BIGINT AS items")


def make_lines_with_wrong_items(engine: "DuckDB", query: Query, _tell: Tell) -> None:
    """Look for them only where fewer items became uses than there are."""
    [wrong] = _numbers(engine, "SELECT items - uses FROM item_count, use_count")
    wanted = query.sql if wrong else f"FROM ({query.sql}) LIMIT 0"
    engine.execute(f"CREATE TABLE {query.name} AS {wanted}")


def make_most_common_compound(engine: "DuckDB", query: Query, tell: Tell) -> None:
    """Half of the work is to read the experiments, the other half to look at one user after the other."""
    compounds, names = engine.table("SELECT compound_id, compound_name FROM clean_compounds ORDER BY 1").columns
    user_ids, weights = engine.table("SELECT user_id, experiments FROM experiments_per_user").columns
    [uses] = _numbers(engine, "SELECT uses FROM use_count")
    lists = "FROM clean_user_experiments WHERE len(experiment_compound_ids) > 0"
    experiments = engine.query(f"SELECT user_id, experiment_compound_ids {lists}")

    def parts() -> Iterator[Experiments]:
        lines = 0
        for batch in experiments:
            yield _experiments(*batch.columns)
            lines += len(batch)
            tell(lines / engine.rows_appended / 2)

    users = 0
    engine.create(query.name, _SCHEMA)
    for found in most_common(
        user_ids.to_numpy(),
        weights.to_numpy(),
        compounds.to_numpy(),
        parts(),
        uses=int(uses),
        directory=engine.spill_directory,
        check=engine.refuse_interruption,
    ):
        engine.append(query.name, _rows(found, compounds, names))
        users += len(found.user_ids)
        tell(0.5 + users / len(user_ids) / 2)


def _numbers(engine: "DuckDB", query: str) -> np.ndarray:
    numbers: np.ndarray = engine.table(query).column(0).to_numpy()
    return numbers


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
    weights: np.ndarray,
    compounds: np.ndarray,
    experiments: Iterator[Experiments],
    *,
    uses: int,
    directory: Path,
    check: Callable[[], None] = lambda: None,
) -> Iterator[MostCommon]:
    """Yield the most common compounds of all users with any, ascending; other compounds than these count for nothing.

    `users` are those of the experiments, and `weights` about what share of the `uses` each has. Where these are too
    many, files are made in `directory`. `check` is called every second or so; what it raises ends the work.
    """
    keys = _Keys(Codes(users), Codes(compounds))
    with ExitStack() as stack:
        parts: _InMemory | _InFiles
        if uses * keys.dtype.itemsize <= PART_BYTES:
            parts = _InMemory(uses, keys.dtype)
        else:
            keys.part(uses, users, weights)
            parts = _InFiles(keys, directory, stack)
        for some in experiments:
            parts.add(keys.of(some))
        for part, pieces in enumerate(parts.pieces()):
            for unique, counts in _counted(keys, pieces, check):
                check()
                yield keys.winners(part, unique, counts)


class _Keys:
    """Uses as numbers: first by user, then by compound; in each part, users are counted from its first one."""

    def __init__(self, users: Codes, compounds: Codes) -> None:
        self._users, self._compounds = users, compounds
        self._set_parts(np.zeros(1, np.int32))

    def _set_parts(self, firsts: np.ndarray) -> None:
        self.firsts = firsts
        users = np.diff(firsts, append=len(self._users))
        span = int(users.max()) * len(self._compounds)
        self.dtype: np.dtype[np.unsignedinteger] = np.dtype(np.uint32 if span < _SHORT_KEYS else np.uint64)
        self.per_user = self.dtype.type(max(1, len(self._compounds)))
        self._part_of = np.repeat(np.arange(len(firsts), dtype=np.uint8), users)

    def part(self, uses: int, user_ids: np.ndarray, weights: np.ndarray) -> None:
        """Part the users so that each part has about PART_BYTES of short keys, or one user who has more."""
        of_size = -(-uses * np.uint32().itemsize // PART_BYTES)
        of_short_keys = -(-len(self._users) * len(self._compounds) // _SHORT_KEYS)
        parts = min(max(of_size, of_short_keys), _PARTS_MAX)
        per_user = np.zeros(len(self._users))
        per_user[self._users.of(user_ids)] = weights
        until = np.cumsum(per_user)
        firsts = np.searchsorted(until, np.arange(parts) * (until[-1] / parts), side="right")
        firsts[0] = 0
        self._set_parts(np.unique(firsts[firsts < len(self._users)]).astype(np.int32))

    def of(self, some: Experiments) -> list[np.ndarray]:
        """The keys of each part."""
        compounds, users = self._compounds.of(some.compound_ids), self._users.of(some.user_ids)
        part_of = self._part_of[users]
        keys = np.repeat((users - self.firsts[part_of]).astype(self.dtype) * self.per_user, some.sizes)
        keys += compounds.astype(self.dtype)
        known = compounds != _NONE
        if not known.all():
            keys = keys[known]
        if len(self.firsts) == 1:
            return [keys]
        part_of = np.repeat(part_of, some.sizes)[known]
        ends = np.cumsum(np.bincount(part_of, minlength=len(self.firsts)))
        return np.split(keys[np.argsort(part_of, kind="stable")], ends[:-1])

    def end_of_user(self, key: np.unsignedinteger) -> np.unsignedinteger:
        """The last key that the user of this one can have."""
        end: np.unsignedinteger = key - key % self.per_user + (self.per_user - self.dtype.type(1))
        return end

    def winners(self, part: int, unique: np.ndarray, counts: np.ndarray) -> MostCommon:
        """What the keys of whole users of a part come to."""
        users = unique // self.per_user
        starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
        uses = np.maximum.reduceat(counts, starts)
        tie = counts == np.repeat(uses, np.diff(starts, append=len(users)))
        return MostCommon(
            self._users.ids[self.firsts[part] :][users[starts]],
            uses,
            np.add.reduceat(tie, starts, dtype=np.int64),
            unique[tie] % self.per_user,
        )


class _InMemory:
    """All keys, as one part in one piece."""

    def __init__(self, uses: int, dtype: np.dtype[np.unsignedinteger]) -> None:
        self._keys = np.empty(uses, dtype)
        self._filled = 0

    def add(self, parts: list[np.ndarray]) -> None:
        [keys] = parts
        self._keys[self._filled : self._filled + len(keys)] = keys
        self._filled += len(keys)

    def pieces(self) -> Iterator[Iterator[np.ndarray]]:
        yield iter([self._keys[: self._filled]])


class _InFiles:
    """Parts of whole users, each read in pieces of PART_BYTES: one, unless a user has more than that."""

    def __init__(self, keys: _Keys, directory: Path, stack: ExitStack) -> None:
        self._dtype = keys.dtype
        self._files: list[IO[bytes]] = [
            stack.enter_context(TemporaryFile(dir=directory))  # noqa: SIM115 - the stack closes it
            for _ in keys.firsts
        ]

    def add(self, parts: list[np.ndarray]) -> None:
        for file, keys in zip(self._files, parts, strict=True):
            file.write(keys.data)

    def pieces(self) -> Iterator[Iterator[np.ndarray]]:
        for file in self._files:
            file.seek(0)
            yield self._read(file)
            file.close()

    def _read(self, file: IO[bytes]) -> Iterator[np.ndarray]:
        while len(keys := np.fromfile(file, self._dtype, PART_BYTES // self._dtype.itemsize)):
            yield keys


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
