"""The index: pages, search, and what happens to its database. On SQLite, and on PostgreSQL where there is one."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from saga_app.console.index.database import InUse
from saga_app.console.index.filters import ErrorFilter, ErrorQuery, SagaQuery
from saga_app.console.index.index import Index
from saga_app.console.index.query import Queries
from saga_app.console.record_id import Place
from saga_app.saga.messages import User
from saga_app.web.problem import Problem
from tests.builders import NO, at
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.filled_index import FilledIndex

MakeReading = Callable[..., FilledIndex]

SORTS = ("started_at", "ended_at", "duration", "name")


def queries(reading: FilledIndex) -> Queries:
    """As the API asks."""
    return Queries(reading.index, lambda: at(60))


def crowd(count: int, dice: random.Random, prefix: str = "s") -> FakeTopics:
    """Sagas of which many share a name, a start and a duration, and of which some have not ended."""
    logs = FakeTopics()
    for number in range(count):
        name = dice.choice(["Ada", "Bob", "Cem", "Dea"])
        user = User(name, f"{name}{number}@example.com", dice.choice(["Sales", "Finance"]))
        steps = dice.choice([1, 100, 100])
        logs.saga(f"{prefix}{number}", user, dice.randrange(5), dice.choice([0.5, 1.0]), steps=steps)
    return logs


async def all_pages(asked: Queries, query: SagaQuery, between: Callable[[], object] = lambda: None) -> list[str]:
    """The ids of all pages, one after the other."""
    ids: list[str] = []
    cursor = None
    for _ in range(1000):
        answer = await asked.sagas(query.model_copy(update={"cursor": cursor}))
        ids += [item["id"] for item in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            return ids
        between()
    raise AssertionError("pages without end")


@pytest.mark.parametrize("sort", [sign + name for name in SORTS for sign in ("", "-")])
async def test_the_pages_hold_every_saga_exactly_once(reading: MakeReading, sort: str) -> None:
    made, dice = reading(), random.Random(sort)
    made.read(crowd(60, dice).records)
    asked = queries(made)
    for limit in (1, 7, 20, 60, 500):
        ids = await all_pages(asked, SagaQuery(sort=sort, limit=limit))
        assert sorted(ids) == sorted(f"s{number}" for number in range(60))


@pytest.mark.parametrize("sort", ["started_at", "-started_at", "name", "-name"])
async def test_sagas_that_come_while_somebody_pages_make_none_appear_twice_or_vanish(
    reading: MakeReading, sort: str
) -> None:
    made, dice = reading(), random.Random(sort)
    made.read(crowd(50, dice).records)
    rounds = iter(range(1000))

    def more() -> None:
        made.read(crowd(3, dice, prefix=f"new{next(rounds)}-").records)

    ids = await all_pages(queries(made), SagaQuery(sort=sort, limit=6), more)
    assert len(ids) == len(set(ids))
    assert {f"s{number}" for number in range(50)} <= set(ids)


async def test_the_list_is_in_order_and_those_without_a_value_come_last(reading: MakeReading) -> None:
    made = reading()
    made.read(crowd(40, random.Random(1)).records)
    asked = queries(made)
    for sort in ("ended_at", "-ended_at", "duration", "-duration"):
        values = [item[sort.lstrip("-")] for item in (await asked.sagas(SagaQuery(sort=sort, limit=500)))["items"]]
        ended = [value for value in values if value is not None]
        assert ended == sorted(ended, reverse=sort.startswith("-"))
        assert values == ended + [None] * (40 - len(ended))


async def test_filters_narrow_the_list_and_the_total(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("a", User("Ada", "ada@example.com", "Sales"))
    logs.saga("b", User("Bob", "bob@example.com", "Sales"), begin=1, steps=1)
    logs.saga("c", User("Cem", "cem@example.com", "Nowhere"), begin=2, outcomes={"authorize": NO})
    logs.overdue("b", 9)
    made.read(logs.records)
    asked = queries(made)

    async def ids(**filters: object) -> list[str]:
        answer = await asked.sagas(SagaQuery.model_validate({"sort": "started_at", **filters}))
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
async def test_a_search_finds_parts_of_names_addresses_and_ids_and_beginnings_of_devices(
    reading: MakeReading, q: str, found: list[str]
) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("a", User("Ada Lovelace", "ada@example.com", "Sales"))
    logs.saga("id-of-b", User("Bob 100% Łukasz", "bob@example.com", "Sales"), begin=1, steps=0)
    made.read(logs.records)
    answer = await queries(made).sagas(SagaQuery(q=q, sort="started_at"))
    assert [item["id"].removeprefix("id-of-") for item in answer["items"]] == found


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
    reading: MakeReading, q: str, found: str | None, now: Callable[[str], None]
) -> None:
    made, logs = reading(), FakeTopics()
    for id, name in NAMES.items():
        logs.saga(f"u-{id}", User(name, f"{id}@example.com", "Sales"), steps=0)
    made.read(logs.records)
    ids = [item["id"] for item in (await queries(made).sagas(SagaQuery(q=q)))["items"]]
    assert ids == ([f"u-{found}"] if found else [])
    if q in ("lucia", "garcia", "ÖZ"):
        now(f"{q} finds {NAMES[str(found)]}")


@pytest.mark.parametrize("q", [" ", "\u200b", "\u3164\u00a0"], ids=ascii)
async def test_a_search_for_nothing_visible_is_no_filter(reading: MakeReading, q: str) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("a")
    made.read(logs.records)
    assert (await queries(made).sagas(SagaQuery(q=q)))["total"] == 1


@pytest.mark.field(12)
async def test_names_are_sorted_without_regard_to_case_and_accents(
    reading: MakeReading, now: Callable[[str], None]
) -> None:
    made, logs = reading(), FakeTopics()
    wanted = ["Ada", "ada", "Ángela", "Øystein", "ß", "Zoë", "zoe", "Владимир", "山田"]
    for number, name in enumerate(reversed(wanted)):
        logs.saga(f"s{number}", User(name, "a@b.example", "Sales"), steps=1)
    made.read(logs.records)
    for sort, order in (("name", wanted), ("-name", wanted[::-1])):
        names = [item["user"].name for item in (await queries(made).sagas(SagaQuery(sort=sort)))["items"]]
        assert names == order
    now(", ".join(wanted))


@pytest.mark.field(12)
@pytest.mark.parametrize("sort", ["name", "-name"])
async def test_pages_by_name_hold_names_that_differ_in_case_or_accents_once(reading: MakeReading, sort: str) -> None:
    made, logs = reading(), FakeTopics()
    for number in range(40):
        name = ("Ada", "ada", "Áda", "ÁDA", "Ad\u00ada", "\ufdfd" * 200)[number % 6]
        logs.saga(f"s{number}", User(name, "a@b.example", "Sales"), steps=1)
    made.read(logs.records)
    for limit in (1, 3, 7, 40):
        ids = await all_pages(queries(made), SagaQuery(sort=sort, limit=limit))
        assert sorted(ids) == sorted(f"s{number}" for number in range(40))


@pytest.mark.field(7)
async def test_a_department_is_found_by_any_spelling_of_it(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("a", User("Ada", "a@b.example", "Human Resources"), steps=1)
    logs.park(logs.written[-2], 5)
    made.read(logs.records)
    for department in ("Human Resources", "Human\u00a0Resources ", "Ｈｕｍａｎ Resources\u200b"):
        assert (await queries(made).sagas(SagaQuery(department=department)))["total"] == 1
        assert (await queries(made).errors(ErrorQuery(department=department)))["total"] == 1
    assert (await queries(made).sagas(SagaQuery(department="human resources")))["total"] == 0


async def test_a_cursor_of_another_order_or_made_up_is_refused(reading: MakeReading) -> None:
    made = reading()
    made.read(crowd(5, random.Random(2)).records)
    asked = queries(made)
    cursor = (await asked.sagas(SagaQuery(sort="name", limit=2)))["next"]
    for wrong in (SagaQuery(sort="-name", cursor=cursor), SagaQuery(cursor="abc"), SagaQuery(cursor="WzFd")):
        with pytest.raises(Problem) as refused:
            await asked.sagas(wrong)
        assert refused.value.status == 422


async def test_dead_letters_are_listed_newest_first_filtered_and_grouped(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    for number in range(7):
        logs.saga(f"s{number}", begin=number, steps=1)
        logs.park(logs.written[-2], 10 + number, error="Permanent" if number < 5 else "Timeout")
    logs.park(FakeRecord("notify", 0, 9, 0, b"?", b"garbage"), 30, error="BadMessage")
    made.read(logs.records)
    asked = queries(made)
    first = await asked.errors(ErrorQuery(limit=3))
    rest = await asked.errors(ErrorQuery(limit=9, cursor=first["next"]))
    items = first["items"] + rest["items"]
    assert first["total"] == 8
    assert [item["at"] for item in items] == sorted((item["at"] for item in items), reverse=True)
    assert items[0]["id"] is None
    assert items[0]["topic"] == "notify"
    assert items[0]["offset"] == 9
    assert {item["topic"] for item in items[1:]} == {"authorize"}
    assert (await asked.errors(ErrorQuery(error="Timeout")))["total"] == 2
    assert (await asked.errors(ErrorQuery(since=at(14), until=at(16))))["total"] == 2
    assert (await asked.errors(ErrorQuery(q="s3")))["total"] == 1
    assert (await asked.errors(ErrorQuery(open=False)))["total"] == 0
    grouped = await asked.errors(ErrorQuery(group=True))
    assert [(group["error"], group["count"]) for group in grouped["items"]] == [
        ("Permanent", 5),
        ("Timeout", 2),
        ("BadMessage", 1),
    ]
    newest = next(item for item in items if item["error"] == "Permanent")
    assert (grouped["items"][0]["example"], grouped["items"][0]["last_at"]) == (newest["name"], newest["at"])


async def test_dead_letters_are_found_by_filter_name_and_saga(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    for number in range(3):
        logs.saga(f"s{number}", begin=number, steps=1)
        logs.park(logs.written[-2], 10 + number)
    made.read(logs.records)
    asked = queries(made)
    meant = await asked.letters_matching(ErrorFilter(service="authorizer"))
    assert [(held.id, held.attempt, held.readable, held.open) for held in meant] == [
        (f"s{number}", 1, True, True) for number in range(3)
    ]
    assert await asked.letters_at([meant[1].place, Place("authorize", 0, 99)]) == [meant[1]]
    assert await asked.open_letters_of(["s2", "nobody"]) == [meant[2]]
    shown = await asked.letter(meant[0].place)
    assert shown is not None
    assert shown["name"] == meant[0].place.name
    assert set(await asked.rows(["s0", "nobody"])) == {"s0"}


def test_what_was_read_and_how_far_stand_together(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("ada")
    made.read(logs.records)
    assert made.index.offsets() == logs.ends
    epoch, seq = made.index.epoch, made.index.seq
    made.close()
    made.index.open()
    assert (made.index.epoch, made.index.seq, made.index.offsets()) == (epoch, seq, logs.ends)


def test_a_rebuild_forgets_everything_and_begins_another_epoch(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("ada")
    made.read(logs.records)
    epoch = made.index.epoch
    made.index.rebuild("other")
    assert made.index.epoch != epoch
    assert (made.index.counts(), made.index.offsets(), made.index.seq) == ({}, {}, 0)
    made.restart()
    made.read(logs.records)
    assert made.index.counts() == {"completed": 1}
    assert asyncio.run(queries(made).sagas(SagaQuery(q="Lovelace")))["total"] == 1


def test_an_index_belongs_to_one_cluster(reading: MakeReading) -> None:
    index = reading().index
    assert index.belongs_to("test")
    assert not index.belongs_to("another")


def test_a_second_console_is_kept_out_of_an_index_in_use(reading: MakeReading, url: str) -> None:
    made = reading()
    second = Index(url)
    with pytest.raises(InUse):
        second.open()
    made.close()
    second.open()
    second.close()


def test_a_deleted_index_is_noticed_and_made_anew(tmp_path: Path) -> None:
    made = FilledIndex(f"sqlite:///{tmp_path}/index.sqlite")
    epoch = made.index.epoch
    assert not made.index.database.is_deleted()
    for file in tmp_path.iterdir():
        file.unlink()
    assert made.index.database.is_deleted()
    made.index.rebuild("")
    assert not made.index.database.is_deleted()
    assert made.index.epoch != epoch
    made.close()


@pytest.mark.parametrize("left", [b"", b"no database at all, but long enough to look like a file of some kind" * 20])
def test_a_file_that_is_no_index_is_made_one(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(left)
    made = FilledIndex(f"sqlite:///{path}")
    assert made.index.counts() == {}
    made.close()


def test_nobody_else_on_the_machine_can_read_the_index(tmp_path: Path) -> None:
    made = FilledIndex(f"sqlite:///{tmp_path}/index.sqlite")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    made.close()


def test_an_index_of_another_schema_is_read_anew(tmp_path: Path) -> None:
    made, logs = FilledIndex(f"sqlite:///{tmp_path}/index.sqlite"), FakeTopics()
    logs.saga("ada")
    made.read(logs.records)
    with made.index.database.engine.begin() as connection:
        connection.exec_driver_sql("update meta set value = '0' where name = 'schema'")
    made.close()
    again = FilledIndex(f"sqlite:///{tmp_path}/index.sqlite")
    assert again.index.counts() == {}
    assert again.index.offsets() == {}
    again.close()


@pytest.mark.field(16)
@pytest.mark.parametrize("steps", [0, 1, 100])
async def test_a_key_that_was_used_is_found_while_its_saga_lasts_and_after(reading: MakeReading, steps: int) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("ada", steps=steps, idempotency="k1.one")
    logs.saga("bob", steps=steps)
    made.read(logs.records)
    asked = queries(made)
    assert [await asked.is_key_taken(mark) for mark in ("k1.one", "k1.two", "k.one", "k2.one")] == [
        False,
        True,
        False,
        False,
    ]
    known = await asked.users(["ada", "bob", "cem"])
    assert {id: saga.idempotency for id, saga in known.items()} == {"ada": "k1.one", "bob": None}


@pytest.mark.field(28)
async def test_a_conflict_says_how_a_saga_ended(reading: MakeReading) -> None:
    made, logs = reading(), FakeTopics()
    logs.saga("ada", outcomes={"authorize": NO})
    made.read(logs.records)
    (saga,) = (await queries(made).users(["ada"])).values()
    assert saga.state == "rolled-back"
    assert "no policy for the department" in saga.conflict("ada")
