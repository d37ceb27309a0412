"""`saga trace`: print past and new trace entries of sagas."""

from datetime import UTC, datetime, timedelta
from typing import Any

from saga_app.commands.client import Console, Event
from saga_app.commands.printing import print_entry, print_json
from saga_app.saga.states import ENDED_STATES
from saga_app.terminal import echo

#: Maximum number of sagas whose past entries are printed if no id is given: each requires a read of Kafka.
MAX_SAGAS = 500


async def trace(console: Console, id: str | None, follow: bool, since: float | None, as_json: bool) -> None:
    """Print the trace of one saga, or of all sagas if `id` is None.

    `follow`: continue with new entries. `since`: only entries of the last so many seconds.
    """
    after = _iso_before(since) if since is not None else ""
    if id is not None:
        await _trace_one(console, id, follow, after, as_json)
        return
    if after:
        await _print_past(console, after, as_json)
    if follow or not after:
        async for event in console.events(trace=True):
            _print_event(event, None, as_json)


async def _trace_one(console: Console, id: str, follow: bool, after: str, as_json: bool) -> None:
    if not follow:
        past = await console.get(f"/api/sagas/{id}/trace")
        past["entries"] = [entry for entry in past["entries"] if entry["at"] >= after]
        if as_json:
            return print_json(past)
        for entry in past["entries"]:
            print_entry(entry, past["id"], as_json)
        return None
    shown: set[tuple[Any, ...]] = set()
    async for event in console.events(trace=True):
        if event.name == "stats" or _is_about(event, id):  # statistics arrive every second
            row = await console.get(f"/api/sagas/{id}")
            for entry in (await console.get(f"/api/sagas/{id}/trace"))["entries"]:
                mark = (entry["topic"], entry["partition"], entry["offset"], entry["kind"], entry["step"])
                if mark not in shown and entry["at"] >= after:
                    print_entry(entry, id, as_json)
                shown.add(mark)
            if row["state"] in ENDED_STATES:
                return None


def _is_about(event: Event, id: str) -> bool:
    return event.name == "step" and bool(event.data["saga"]["id"] == id)


async def _print_past(console: Console, after: str, as_json: bool) -> None:
    """Print the entries since `after` (ISO 8601) of all sagas that were active since then, ordered by time."""
    active: dict[str, None] = {}
    for query in ({"sort": "-started_at"}, {"sort": "-ended_at"}, {"state": "running"}):
        page = await console.get("/api/sagas", **query, limit=100)
        while True:
            recent = [row["id"] for row in page["items"] if row["updated_at"] >= after]
            active |= dict.fromkeys(recent)
            if not page.get("next") or len(active) >= MAX_SAGAS or len(recent) < len(page["items"]):
                break
            page = await console.get("/api/sagas", **query, limit=100, cursor=page["next"])
    entries = [
        (entry["at"], id, entry)
        for id in list(active)[:MAX_SAGAS]
        for entry in (await console.get(f"/api/sagas/{id}/trace"))["entries"]
        if entry["at"] >= after
    ]
    for _at, id, entry in sorted(entries, key=lambda each: each[:2]):
        print_entry(entry, id, as_json)
    if len(active) > MAX_SAGAS:
        echo(f"{len(active)} sagas were active; {MAX_SAGAS} are shown. Use a shorter --since to see all", err=True)


def _print_event(event: Event, id: str | None, as_json: bool) -> None:
    if event.name == "step" and (id is None or _is_about(event, id)):
        print_entry(event.data["entry"], event.data["saga"]["id"], as_json)
    elif event.name == "lost":
        echo("connection to the console lost, reconnecting", err=True)
    elif event.name == "reset":
        echo("the console has rebuilt its index: entries may be missing here", err=True)


def _iso_before(seconds: float) -> str:
    when = datetime.now(UTC) - timedelta(seconds=seconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
