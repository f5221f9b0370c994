import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamd.core.errors import SinkError
from streamd.sqlite.database import Database
from streamd.sqlite.insert import MOST_PARAMS, MOST_ROWS, Insert, RowGatherer, insert_valid_rows


@given(rows=st.integers(0, 20_000), width=st.integers(1, 1000))
def test_sizes_are_powers_of_two_that_add_up_within_the_bounds(rows: int, width: int) -> None:
    statement = Insert("t", [f"c{i}" for i in range(width)])
    sizes = list(statement.sizes(rows))
    assert sum(sizes) == rows
    assert all(size & (size - 1) == 0 and size * width <= MOST_PARAMS and size <= MOST_ROWS for size in sizes)
    assert len(set(sizes)) <= 11
    assert statement.most_rows * 2 > min(MOST_ROWS, MOST_PARAMS // width)


async def test_rows_are_stored_in_order_over_many_statements(database: Database) -> None:
    statement = Insert("t", ["a"])
    other = Insert("t", ["a"], unique=["a"], replaced=["a"])
    async with database.transaction():
        gathered = RowGatherer(database)
        for first in range(0, 5000, 500):
            await gathered.put(
                statement if first != 3000 else other, [(a,) for a in range(first, first + 500)]
            )
        await gathered.flush()
        await gathered.flush()
    assert await database.fetch("SELECT a FROM t ORDER BY rowid") == [(a,) for a in range(5000)]


@settings(  # it empties the table
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(bad=st.sets(st.integers(0, 69), max_size=8))
async def test_only_the_bad_rows_are_left_out(database: Database, bad: set[int]) -> None:
    await database.execute("DELETE FROM t")
    rows = [("text" if i in bad else i,) for i in range(70)]
    async with database.transaction():
        found = await insert_valid_rows(database, Insert("t", ["a"]), rows)
    assert [(index, reason) for index, reason, _ in found] == [(index, "row:type") for index in sorted(bad)]
    assert await database.fetch("SELECT a FROM t ORDER BY rowid") == [(i,) for i in range(70) if i not in bad]


async def test_a_trigger_that_ends_the_transaction_loses_nothing_silently(database: Database) -> None:
    await database.execute(
        "CREATE TRIGGER ends BEFORE INSERT ON t WHEN new.a = 5 BEGIN SELECT RAISE(ROLLBACK, 'no fives'); END"
    )
    with pytest.raises(SinkError, match="no fives"):
        async with database.transaction():
            await insert_valid_rows(database, Insert("t", ["a"]), [(a,) for a in range(10)])
    assert await database.fetch("SELECT a FROM t") == []


@pytest.mark.parametrize("unique", [["k"], ["k", "l"]])
async def test_a_row_that_is_replaced_has_nothing_left_of_the_old_one(
    database: Database, unique: list[str]
) -> None:
    await database.execute("CREATE TABLE u (k INTEGER, l INTEGER DEFAULT 7, v TEXT, w TEXT)")
    await database.execute(f"CREATE UNIQUE INDEX keys ON u ({', '.join(unique)})")
    every = ["k", "l", "v", "w"]
    async with database.transaction():
        gathered = RowGatherer(database)
        await gathered.put(Insert("u", every, unique, every), [(1, 7, "old", "old"), (2, 7, "old", "old")])
        await gathered.put(Insert("u", ["k", "v"], unique, every), [(1, "new")])
        await gathered.flush()
    assert await database.fetch("SELECT * FROM u ORDER BY k") == [(1, 7, "new", None), (2, 7, "old", "old")]
