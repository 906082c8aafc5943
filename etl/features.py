"""THE CATALOGUE: one function per derived feature, as Ibis expressions over the clean tables.

To add a feature, add a function: its columns appear in `user_features` (or `experiment_summary`) and in the API without
any other edit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from etl import validate
from etl.contract import COMPOUNDS, USER_EXPERIMENTS, USERS
from etl.evidence import Lines, lines_of_experiments, lines_with_the_compound
from etl.validate import Step

POSTGRES_TYPES = frozenset({"bigint", "double precision", "text", "date", "boolean", "bigint[]"})


@dataclass(frozen=True)
class Tables:
    """What features are derived from.

    `users` (user_id, name, email, signup_date), `compounds` (compound_id, compound_name, compound_structure) and
    `experiments` (experiment_id, user_id, experiment_run_time, ...) hold the accepted lines; `uses` (experiment_id,
    user_id, compound_id) has one row per experiment and different compound in it. What several features need is there
    once: `per_user` (user_id, experiments) for users with any, and the number of uses.
    """

    users: ir.Table
    compounds: ir.Table
    experiments: ir.Table
    uses: ir.Table
    per_user: ir.Table
    use_count: ir.IntegerScalar


@dataclass(frozen=True)
class Feature:
    """A registered function, its columns with their Postgres types, and the value of users that it leaves out."""

    function: Callable[[Tables], Any]
    columns: dict[str, str]
    otherwise: int | None = None
    lines: Lines = lines_of_experiments

    @property
    def step(self) -> str:
        """The name of the table with its values."""
        return f"feature_{next(iter(self.columns))}"


@dataclass(frozen=True)
class Catalogue:
    """Features in order of registration; a column name occurs once."""

    features: list[Feature] = field(default_factory=list)

    @property
    def columns(self) -> dict[str, str]:
        return {name: type_ for feature in self.features for name, type_ in feature.columns.items()}

    def register(self, feature: Feature) -> None:
        for name, type_ in feature.columns.items():
            if name in self.columns:
                raise ValueError(f"feature column {name!r} is declared twice")
            if type_ not in POSTGRES_TYPES:
                raise ValueError(f"feature column {name!r}: type {type_!r} is none of {sorted(POSTGRES_TYPES)}")
        self.features.append(feature)


USER_CATALOGUE = Catalogue()
SUMMARY_CATALOGUE = Catalogue()


def feature(
    *, otherwise: int | None = None, lines: Lines = lines_of_experiments, **columns: str
) -> Callable[[Callable[[Tables], ir.Table]], Callable[[Tables], ir.Table]]:
    """Register a feature per user: the function returns a table of `user_id` and `columns` (name=Postgres type).

    A user without a row in that table gets `otherwise`; `lines` names the input lines behind a value. Raises ValueError
    on a column that exists already.
    """

    def register(function: Callable[[Tables], ir.Table]) -> Callable[[Tables], ir.Table]:
        USER_CATALOGUE.register(Feature(function, columns, otherwise, lines))
        return function

    return register


def summary(**columns: str) -> Callable[[Callable[[Tables], ir.Scalar]], Callable[[Tables], ir.Scalar]]:
    """Register a number about the whole dataset: the function returns the one scalar that `columns` names and types."""

    def register(function: Callable[[Tables], ir.Scalar]) -> Callable[[Tables], ir.Scalar]:
        SUMMARY_CATALOGUE.register(Feature(function, columns))
        return function

    return register


# --- per user


@feature(total_experiments="bigint", otherwise=0)
def total_experiments(t: Tables) -> ir.Table:
    """Accepted experiments of the user; 0 for a user without any."""
    return t.per_user.select("user_id", total_experiments="experiments")


@feature(average_run_time="double precision")
def average_run_time(t: Tables) -> ir.Table:
    """Mean run time of the user's experiments; null without any.

    Summed as whole numbers, of 2^-24 and the rest of 2^-60, so that the same files always come to the same number: the
    sum of doubles depends on their order, and that on which thread was first. Only where one is 2^36 or more it is a
    mean of doubles.
    """
    run_time = t.experiments.experiment_run_time
    scaled = ibis.ifelse(run_time < 2.0**36, run_time, 0.0) * 2.0**24
    whole = scaled.floor().cast("int64")
    rest = ((scaled - whole) * 2.0**36).floor().cast("int64")
    sums = [part.cast("decimal(38, 0)").sum().cast("float64") for part in (whole, rest)]
    exact = (sums[0] * 2.0**36 + sums[1]) / run_time.count() * 2.0**-60
    # Scaled by a power of two, which is exact: the sum of a few of the largest doubles would be infinite.
    of_doubles = (run_time * 2.0**-64).mean() * 2.0**64
    return t.experiments.group_by("user_id").agg(
        average_run_time=ibis.ifelse(run_time.max() < 2.0**36, exact, of_doubles)
    )


@feature(
    lines=lines_with_the_compound,
    most_common_compound_id="bigint",
    most_common_compound_name="text",
    most_common_compound_uses="bigint",
    most_common_compound_ids="bigint[]",
)
def most_common_compound(t: Tables) -> ir.Table:
    """The compound in the most of the user's experiments.

    A tie goes to the lowest id, and `most_common_compound_ids` lists all that tie, ascending; null without any.
    """
    per_compound = t.uses.group_by("user_id", "compound_id").agg(uses=t.uses.count())
    most = per_compound.group_by("user_id").agg(uses=per_compound.uses.max())
    tied = per_compound.semi_join(most, ["user_id", "uses"])
    winners = tied.group_by("user_id").agg(
        compound_id=tied.compound_id.min(),
        most_common_compound_uses=tied.uses.max(),
        most_common_compound_ids=tied.compound_id.collect(),
    )
    named = winners.inner_join(t.compounds, "compound_id")
    return named.select(
        "user_id",
        "most_common_compound_uses",
        most_common_compound_id="compound_id",
        most_common_compound_name="compound_name",
        most_common_compound_ids=named.most_common_compound_ids.sort(),
    )


@feature(experiment_share="double precision")
def experiment_share(t: Tables) -> ir.Table:
    """The user's experiments / all experiments; 0 for a user without any, null when there are none at all."""
    users = t.users.select("user_id").left_join(t.per_user, "user_id")
    total = t.per_user.experiments.sum().nullif(0).as_scalar()
    return users.select("user_id", experiment_share=users.experiments.fill_null(0) / total)


# --- per dataset


@summary(total_users="bigint")
def users_in_all(t: Tables) -> ir.Scalar:
    """Accepted users."""
    return t.users.count()


@summary(active_users="bigint")
def users_with_experiments(t: Tables) -> ir.Scalar:
    """Accepted users with at least one accepted experiment."""
    return t.per_user.count()


@summary(total_experiments="bigint")
def experiments_in_all(t: Tables) -> ir.Scalar:
    """Accepted experiments."""
    return t.experiments.count()


@summary(average_experiments_per_user="double precision")
def experiments_per_user(t: Tables) -> ir.Scalar:
    """Accepted experiments / accepted users, those without any included; null without users."""
    return t.experiments.count().as_scalar() / t.users.count().nullif(0).as_scalar()


@summary(average_experiments_per_active_user="double precision")
def experiments_per_active_user(t: Tables) -> ir.Scalar:
    """Accepted experiments / accepted users with at least one; null without any."""
    return t.per_user.experiments.sum() / t.per_user.count().nullif(0)


@summary(average_compounds_per_experiment="double precision")
def compounds_per_experiment(t: Tables) -> ir.Scalar:
    """Different accepted compounds in an experiment, averaged over accepted experiments; null without any."""
    return t.use_count / t.experiments.count().nullif(0).as_scalar()


# --- the two tables that are published


@cache
def tables() -> Tables:
    return Tables(
        users=validate.clean(USERS),
        compounds=validate.clean(COMPOUNDS),
        experiments=validate.clean(USER_EXPERIMENTS),
        uses=validate.uses(),
        per_user=ibis.table(_per_user().schema(), name="experiments_per_user"),
        use_count=validate.use_count(),
    )


def _per_user() -> ir.Table:
    experiments = validate.clean(USER_EXPERIMENTS)
    return experiments.group_by("user_id").agg(experiments=experiments.count())


def steps() -> Iterator[Step]:
    """Yield the steps to `user_features`, one row per user, and `experiment_summary`, one row about all of them."""
    yield Step("experiments_per_user", _per_user())
    for feature_ in USER_CATALOGUE.features:
        yield Step(feature_.step, feature_.function(tables()))
    yield Step("user_features", _user_features(tables()), is_view=True)
    yield Step("experiment_summary", _experiment_summary(tables()))


def user_features() -> ir.Table:
    """One row per accepted user: the columns of users.csv, then the catalogue's."""
    return ibis.table(_user_features(tables()).schema(), name="user_features")


def experiment_summary() -> ir.Table:
    """One row: the summary catalogue's columns."""
    return ibis.table(_experiment_summary(tables()).schema(), name="experiment_summary")


def _user_features(t: Tables) -> ir.Table:
    rows = t.users.select(*USERS.column_names)
    for feature_ in USER_CATALOGUE.features:
        values = ibis.table(feature_.function(t).schema(), name=feature_.step)
        rows = rows.left_join(values, USERS.key).drop(f"{USERS.key}_right")
        if feature_.otherwise is not None:
            rows = rows.mutate(**{name: rows[name].fill_null(feature_.otherwise) for name in feature_.columns})
    return rows.select(*USERS.column_names, *USER_CATALOGUE.columns)


def _experiment_summary(t: Tables) -> ir.Table:
    scalars = [
        feature_.function(t).name(name).as_table()
        for feature_ in SUMMARY_CATALOGUE.features
        for name in feature_.columns
    ]
    return reduce(lambda left, right: left.cross_join(right), scalars)
