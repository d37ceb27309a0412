"""The index: pages, search, dead letters, and the life of its database, in SQLite and, if installed, PostgreSQL."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect

from saga_app.console.index.database import InUse
from saga_app.console.index.filters import ErrorFilter, ErrorQuery, SagaQuery
from saga_app.console.index.index import Index
from saga_app.console.index.query import Queries
from saga_app.saga.messages import User
from saga_app.saga.record_id import RecordId
from saga_app.saga.times import iso
from saga_app.web.problem import Problem
from tests.builders import NO, at
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.index_harness import IndexHarness

SORTS = ("started_at", "ended_at", "duration", "name")


def queries_of(harness: IndexHarness) -> Queries:
    """The queries of an index."""
    return Queries(harness.index, lambda: at(60))


def crowd(count: int, dice: random.Random, prefix: str = "s") -> FakeTopics:
    """Sagas with few different names, starts and durations; about a third of them has not ended."""
    topics = FakeTopics()
    for number in range(count):
        name = dice.choice(["Ada", "Bob", "Cem", "Dea"])
        user = User(name, f"{name}{number}@example.com", dice.choice(["Sales", "Finance"]))
        steps = dice.choice([1, 100, 100])
        topics.run_saga(f"{prefix}{number}", user, dice.randrange(5), dice.choice([0.5, 1.0]), steps=steps)
    return topics


async def all_pages(
    queries: Queries, query: SagaQuery, between_pages: Callable[[], object] = lambda: None
) -> list[str]:
    """The ids on all pages in order; calls `between_pages` before each page but the first."""
    ids: list[str] = []
    cursor = None
    for _ in range(1000):
        answer = await queries.sagas(query.model_copy(update={"cursor": cursor}))
        ids += [item["id"] for item in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            return ids
        between_pages()
    raise AssertionError("no last page among 1000")


@pytest.mark.parametrize("sort", [sign + name for name in SORTS for sign in ("", "-")])
async def test_the_pages_contain_every_saga_exactly_once(harness: IndexHarness, sort: str) -> None:
    dice = random.Random(sort)
    harness.read(crowd(60, dice).sorted_records)
    queries = queries_of(harness)
    for limit in (1, 7, 20, 60, 500):
        ids = await all_pages(queries, SagaQuery(sort=sort, limit=limit))
        assert sorted(ids) == sorted(f"s{number}" for number in range(60))


@pytest.mark.parametrize("sort", ["started_at", "-started_at", "name", "-name"])
async def test_new_sagas_between_pages_cause_no_duplicates_and_no_gaps(harness: IndexHarness, sort: str) -> None:
    dice = random.Random(sort)
    harness.read(crowd(50, dice).sorted_records)
    rounds = iter(range(1000))

    def add_sagas() -> None:
        harness.read(crowd(3, dice, prefix=f"new{next(rounds)}-").sorted_records)

    ids = await all_pages(queries_of(harness), SagaQuery(sort=sort, limit=6), add_sagas)
    assert len(ids) == len(set(ids))
    assert {f"s{number}" for number in range(50)} <= set(ids)


async def test_the_list_is_sorted_with_missing_values_last(harness: IndexHarness) -> None:
    harness.read(crowd(40, random.Random(1)).sorted_records)
    queries = queries_of(harness)
    for sort in ("ended_at", "-ended_at", "duration", "-duration"):
        values = [item[sort.lstrip("-")] for item in (await queries.sagas(SagaQuery(sort=sort, limit=500)))["items"]]
        ended = [value for value in values if value is not None]
        assert ended == sorted(ended, reverse=sort.startswith("-"))
        assert values == ended + [None] * (40 - len(ended))


async def test_filters_apply_to_the_list_and_to_the_total(harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("a", User("Ada", "ada@example.com", "Sales"))
    topics.run_saga("b", User("Bob", "bob@example.com", "Sales"), begin=1, steps=1)
    topics.run_saga("c", User("Cem", "cem@example.com", "Nowhere"), begin=2, outcomes={"authorize": NO})
    topics.write_overdue("b", 9)
    harness.read(topics.sorted_records)
    queries = queries_of(harness)

    async def ids(**filters: object) -> list[str]:
        answer = await queries.sagas(SagaQuery.model_validate({"sort": "started_at", **filters}))
        assert answer["total"] == len(answer["items"])
        return [item["id"] for item in answer["items"]]

    assert await ids() == ["a", "b", "c"]
    assert await ids(state="running") == ["b"]
    assert await ids(state="completed,rolled-back") == ["a", "c"]
    assert await ids(department="Sales") == ["a", "b"]
    assert await ids(department="Sales", state="completed") == ["a"]
    assert await ids(overdue="true") == ["b"]
    assert await ids(overdue="false") == ["a", "c"]


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("love", ["a"]),
        ("LOVE", ["a"]),
        ("example.com", ["a", "b"]),
        ("o", ["a", "b"]),
        ("Bo", ["b"]),
        ("id-of-b", ["b"]),
        ("lt-1", ["a"]),
        ("100%", ["b"]),
        ("%", ["b"]),
        ("_", []),
        ('"', []),
        ("' OR 1=1 --", []),
        ("Łukasz", ["b"]),
        ("  love  ", ["a"]),
        ("nobody at all", []),
    ],
)
async def test_a_search_finds_parts_of_text_and_prefixes_of_device_ids(
    harness: IndexHarness, q: str, found: list[str]
) -> None:
    topics = FakeTopics()
    topics.run_saga("a", User("Ada Lovelace", "ada@example.com", "Sales"))
    topics.run_saga("id-of-b", User("Bob 100% Łukasz", "bob@example.com", "Sales"), begin=1, steps=0)
    harness.read(topics.sorted_records)
    answer = await queries_of(harness).sagas(SagaQuery(q=q, sort="started_at"))
    assert [item["id"].removeprefix("id-of-") for item in answer["items"]] == found


#: Names that are searched for, by the id of their saga.
NAMES = {
    "lucia": "Lucía",
    "garcia": "Rosa García",
    "jose": "Jose\u0301",
    "oez": "öz",
    "strasse": "Straße",
    "lukasz": "Łukasz",
    "oersted": "Ørsted",
    "istanbul": "İlhan",
    "wide": "Ｗｉｄｅ",
    "hidden": "Hid\u200bden",
    "percent": "100%_!",
}


@pytest.mark.field(12)
@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("lucia", "lucia"),
        ("LUCÍA", "lucia"),
        ("garcia", "garcia"),
        ("GARCI\u0301A", "garcia"),
        ("José", "jose"),
        ("jose", "jose"),
        ("ÖZ", "oez"),
        ("o\u0308z", "oez"),
        ("STRASSE", "strasse"),
        ("straße", "strasse"),
        ("łuk", "lukasz"),
        ("luk", "lukasz"),
        ("ør", "oersted"),
        ("orsted", "oersted"),
        ("ILHAN", "istanbul"),
        ("ilhan", "istanbul"),
        ("wide", "wide"),
        ("ＷＩ", "wide"),
        ("hidden", "hidden"),
        ("\u200bhidden\u2060", "hidden"),
        ("100%_!", "percent"),
        ("%_", "percent"),
        ("lucía@example.com", "lucia"),
        ("%a", None),
        ("xyz", None),
    ],
    ids=ascii,
)
async def test_a_search_ignores_case_accents_and_normal_forms(
    harness: IndexHarness, q: str, found: str | None, now: Callable[[str], None]
) -> None:
    topics = FakeTopics()
    for id, name in NAMES.items():
        topics.run_saga(f"u-{id}", User(name, f"{id}@example.com", "Sales"), steps=0)
    harness.read(topics.sorted_records)
    ids = [item["id"] for item in (await queries_of(harness).sagas(SagaQuery(q=q)))["items"]]
    assert ids == ([f"u-{found}"] if found else [])
    if q in ("lucia", "garcia", "ÖZ"):
        now(f"{q} finds {NAMES[str(found)]}")


@pytest.mark.parametrize("q", [" ", "\u200b", "\u3164\u00a0"], ids=ascii)
async def test_a_search_for_invisible_characters_finds_everything(harness: IndexHarness, q: str) -> None:
    topics = FakeTopics()
    topics.run_saga("a")
    harness.read(topics.sorted_records)
    assert (await queries_of(harness).sagas(SagaQuery(q=q)))["total"] == 1


@pytest.mark.field(12)
async def test_names_are_sorted_regardless_of_case_and_accents(
    harness: IndexHarness, now: Callable[[str], None]
) -> None:
    topics = FakeTopics()
    expected = ["Ada", "ada", "Ángela", "Øystein", "ß", "Zoë", "zoe", "Владимир", "山田"]
    for number, name in enumerate(reversed(expected)):
        topics.run_saga(f"s{number}", User(name, "a@b.example", "Sales"), steps=1)
    harness.read(topics.sorted_records)
    for sort, order in (("name", expected), ("-name", expected[::-1])):
        names = [item["user"].name for item in (await queries_of(harness).sagas(SagaQuery(sort=sort)))["items"]]
        assert names == order
    now(", ".join(expected))


@pytest.mark.field(12)
@pytest.mark.parametrize("sort", ["name", "-name"])
async def test_pages_by_name_contain_similar_names_exactly_once(harness: IndexHarness, sort: str) -> None:
    topics = FakeTopics()
    for number in range(40):
        name = ("Ada", "ada", "Áda", "ÁDA", "Ad\u00ada", "\ufdfd" * 200)[number % 6]
        topics.run_saga(f"s{number}", User(name, "a@b.example", "Sales"), steps=1)
    harness.read(topics.sorted_records)
    for limit in (1, 3, 7, 40):
        ids = await all_pages(queries_of(harness), SagaQuery(sort=sort, limit=limit))
        assert sorted(ids) == sorted(f"s{number}" for number in range(40))


@pytest.mark.field(7)
async def test_departments_match_regardless_of_spaces_and_normal_form(harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("a", User("Ada", "a@b.example", "Human Resources"), steps=1)
    topics.park(topics.records[-2], 5)
    harness.read(topics.sorted_records)
    for department in ("Human Resources", "Human\u00a0Resources ", "Ｈｕｍａｎ Resources\u200b"):
        assert (await queries_of(harness).sagas(SagaQuery(department=department)))["total"] == 1
        assert (await queries_of(harness).errors(ErrorQuery(department=department)))["total"] == 1
    assert (await queries_of(harness).sagas(SagaQuery(department="human resources")))["total"] == 0


async def test_a_forged_cursor_or_one_of_another_sort_order_is_refused(harness: IndexHarness) -> None:
    harness.read(crowd(5, random.Random(2)).sorted_records)
    queries = queries_of(harness)
    cursor = (await queries.sagas(SagaQuery(sort="name", limit=2)))["next"]
    for wrong in (SagaQuery(sort="-name", cursor=cursor), SagaQuery(cursor="abc"), SagaQuery(cursor="WzFd")):
        with pytest.raises(Problem) as refused:
            await queries.sagas(wrong)
        assert refused.value.status == 422


async def test_dead_letters_are_listed_newest_first_filtered_and_grouped(harness: IndexHarness) -> None:
    topics = FakeTopics()
    for number in range(7):
        topics.run_saga(f"s{number}", begin=number, steps=1)
        topics.park(topics.records[-2], 10 + number, error="Permanent" if number < 5 else "Timeout")
    topics.park(FakeRecord("notify", 0, 9, 0, b"?", b"garbage"), 30, error="BadMessage")
    harness.read(topics.sorted_records)
    queries = queries_of(harness)
    first = await queries.errors(ErrorQuery(limit=3))
    rest = await queries.errors(ErrorQuery(limit=9, cursor=first["next"]))
    items = first["items"] + rest["items"]
    assert first["total"] == 8
    assert [item["at"] for item in items] == sorted((item["at"] for item in items), reverse=True)
    assert items[0]["id"] is None
    assert items[0]["topic"] == "notify"
    assert items[0]["offset"] == 9
    assert {item["topic"] for item in items[1:]} == {"authorize"}
    assert (await queries.errors(ErrorQuery(error="Timeout")))["total"] == 2
    assert (await queries.errors(ErrorQuery(since=iso(at(14)), until=iso(at(16)))))["total"] == 2
    assert (await queries.errors(ErrorQuery(q="s3")))["total"] == 1
    assert (await queries.errors(ErrorQuery(open=False)))["total"] == 0
    grouped = await queries.errors(ErrorQuery(group=True))
    assert [(group["error"], group["count"]) for group in grouped["items"]] == [
        ("Permanent", 5),
        ("Timeout", 2),
        ("BadMessage", 1),
    ]
    newest = next(item for item in items if item["error"] == "Permanent")
    assert (grouped["items"][0]["example"], grouped["items"][0]["last_at"]) == (newest["name"], newest["at"])


async def test_dead_letters_are_found_by_filter_name_and_saga(harness: IndexHarness) -> None:
    topics = FakeTopics()
    for number in range(3):
        topics.run_saga(f"s{number}", begin=number, steps=1)
        topics.park(topics.records[-2], 10 + number)
    harness.read(topics.sorted_records)
    queries = queries_of(harness)
    letters = await queries.letters_matching(ErrorFilter(service="authorizer"))
    assert [(held.id, held.attempt, held.readable, held.open) for held in letters] == [
        (f"s{number}", 1, True, True) for number in range(3)
    ]
    assert await queries.letters_at([letters[1].place, RecordId("authorize", 0, 99)]) == [letters[1]]
    assert await queries.open_letters_of(["s2", "nobody"]) == [letters[2]]
    shown = await queries.letter(letters[0].place)
    assert shown is not None
    assert shown["name"] == str(letters[0].place)
    assert set(await queries.rows(["s0", "nobody"])) == {"s0"}


def test_offsets_are_stored_with_the_sagas_and_survive_a_restart(harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada")
    harness.read(topics.sorted_records)
    assert harness.index.offsets() == topics.ends
    epoch, seq = harness.index.epoch, harness.index.seq
    harness.close()
    harness.index.open()
    assert (harness.index.epoch, harness.index.seq, harness.index.offsets()) == (epoch, seq, topics.ends)


def test_a_rebuild_empties_the_index_and_begins_a_new_epoch(harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada")
    harness.read(topics.sorted_records)
    epoch = harness.index.epoch
    harness.index.rebuild("other")
    assert harness.index.epoch != epoch
    assert (harness.index.counts(), harness.index.offsets(), harness.index.seq) == ({}, {}, 0)
    harness.restart()
    harness.read(topics.sorted_records)
    assert harness.index.counts() == {"completed": 1}
    assert asyncio.run(queries_of(harness).sagas(SagaQuery(q="Lovelace")))["total"] == 1


def test_an_index_belongs_to_one_cluster(harness: IndexHarness) -> None:
    index = harness.index
    assert index.belongs_to("test")
    assert not index.belongs_to("another")


def test_a_second_console_cannot_open_an_index_in_use(harness: IndexHarness, index_url: str) -> None:
    second = Index(index_url)
    with pytest.raises(InUse):
        second.open()
    harness.close()
    second.open()
    second.close()


def test_a_deleted_index_file_is_detected_and_recreated(tmp_path: Path) -> None:
    harness = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    epoch = harness.index.epoch
    assert not harness.index.database.is_deleted()
    for file in tmp_path.iterdir():
        file.unlink()
    assert harness.index.database.is_deleted()
    harness.index.rebuild("")
    assert not harness.index.database.is_deleted()
    assert harness.index.epoch != epoch
    harness.close()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to look like a file of some kind" * 20])
def test_a_file_that_is_not_a_database_is_replaced_by_an_index(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(content)
    harness = IndexHarness(f"sqlite:///{path}")
    assert harness.index.counts() == {}
    harness.close()


def test_other_users_of_the_machine_cannot_read_the_index(tmp_path: Path) -> None:
    harness = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    harness.close()


def test_an_index_with_another_schema_version_is_emptied(tmp_path: Path) -> None:
    harness, topics = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite"), FakeTopics()
    topics.run_saga("ada")
    harness.read(topics.sorted_records)
    with harness.index.database.engine.begin() as connection:
        connection.exec_driver_sql("update meta set value = '0' where name = 'schema'")
    harness.close()
    reopened = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    assert reopened.index.counts() == {}
    assert reopened.index.offsets() == {}
    reopened.close()


@pytest.mark.field(16)
@pytest.mark.parametrize("steps", [0, 1, 100])
async def test_a_used_idempotency_key_is_found_in_every_state_of_its_saga(harness: IndexHarness, steps: int) -> None:
    topics = FakeTopics()
    topics.run_saga("ada", steps=steps, idempotency="k1.one")
    topics.run_saga("bob", steps=steps)
    harness.read(topics.sorted_records)
    queries = queries_of(harness)
    assert [await queries.is_key_taken(mark) for mark in ("k1.one", "k1.two", "k.one", "k2.one")] == [
        False,
        True,
        False,
        False,
    ]
    known = await queries.users(["ada", "bob", "cem"])
    assert {id: saga.idempotency for id, saga in known.items()} == {"ada": "k1.one", "bob": None}


@pytest.mark.field(28)
async def test_a_conflict_explains_how_the_saga_ended(harness: IndexHarness) -> None:
    topics = FakeTopics()
    topics.run_saga("ada", outcomes={"authorize": NO})
    harness.read(topics.sorted_records)
    (saga,) = (await queries_of(harness).users(["ada"])).values()
    assert saga.state == "rolled-back"
    assert "no policy for the department" in saga.conflict("ada")


async def test_a_search_finds_sagas_that_are_in_the_search_index_and_others(sqlite_harness: IndexHarness) -> None:
    topics, index = FakeTopics(), sqlite_harness.index
    for number in range(5):
        topics.run_saga(f"lovelace-{number}", begin=number)
    sqlite_harness.read(topics.sorted_records)
    for unsearched in (5, 3, 1, 0):
        assert index.unsearched == unsearched
        assert (await queries_of(sqlite_harness).sagas(SagaQuery(q="lovelace-")))["total"] == 5
        index.fill_search(most=2)


def test_the_search_index_is_filled_further_after_a_restart(tmp_path: Path) -> None:
    harness = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    topics = FakeTopics()
    for number in range(3):
        topics.run_saga(f"lovelace-{number}", begin=number)
    harness.read(topics.sorted_records)
    harness.index.fill_search(most=1)
    harness.close()
    again = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    assert again.index.unsearched == 2
    again.close()


def test_indexes_that_a_crash_during_a_catch_up_left_out_are_created(tmp_path: Path) -> None:
    harness = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    complete = index_names(harness)
    harness.index.drop_list_indexes()
    assert index_names(harness) < complete
    harness.close()
    again = IndexHarness(f"sqlite:///{tmp_path}/index.sqlite")
    assert index_names(again) == complete
    again.close()


def index_names(harness: IndexHarness) -> set[str]:
    """The indexes of the table of sagas."""
    found = inspect(harness.index.database.engine).get_indexes("sagas")
    return {str(index["name"]) for index in found}
