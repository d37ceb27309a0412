"""`saga trace`: the way of sagas through Kafka, what was and what comes."""

from datetime import UTC, datetime, timedelta
from typing import Any

from saga_app.commands.client import Console, Event
from saga_app.commands.printing import say_entry, say_json
from saga_app.terminal import echo

#: The most sagas whose past is shown when none is named: each is a read of Kafka.
MOST = 500

ENDED = ("completed", "rolled-back", "rollback-incomplete")


async def trace(console: Console, id: str | None, follow: bool, since: float | None, as_json: bool) -> None:
    """Print the trace of a saga, or of all; `since` in seconds."""
    after = _iso_before(since) if since is not None else ""
    if id is not None:
        await _one(console, id, follow, after, as_json)
        return
    if after:
        await _past(console, after, as_json)
    if follow or not after:
        async for event in console.events(trace=True):
            _say(event, None, as_json)


async def _one(console: Console, id: str, follow: bool, after: str, as_json: bool) -> None:
    if not follow:
        past = await console.get(f"/api/sagas/{id}/trace")
        past["entries"] = [entry for entry in past["entries"] if entry["at"] >= after]
        if as_json:
            return say_json(past)
        for entry in past["entries"]:
            say_entry(entry, past["id"], as_json)
        return None
    shown: set[tuple[Any, ...]] = set()
    async for event in console.events(trace=True):
        if event.name == "stats" or _about(event, id):  # each second, and whenever something happened to it
            row = await console.get(f"/api/sagas/{id}")
            for entry in (await console.get(f"/api/sagas/{id}/trace"))["entries"]:
                mark = (entry["topic"], entry["partition"], entry["offset"], entry["kind"], entry["step"])
                if mark not in shown and entry["at"] >= after:
                    say_entry(entry, id, as_json)
                shown.add(mark)
            if row["state"] in ENDED:
                return None


def _about(event: Event, id: str) -> bool:
    return event.name == "step" and bool(event.data["saga"]["id"] == id)


async def _past(console: Console, after: str, as_json: bool) -> None:
    """What happened to all sagas that did something since then, in the order of time."""
    active: dict[str, None] = {}
    for query in ({"sort": "-started_at"}, {"sort": "-ended_at"}, {"state": "running"}):
        page = await console.get("/api/sagas", **query, limit=100)
        while True:
            recent = [row["id"] for row in page["items"] if row["updated_at"] >= after]
            active |= dict.fromkeys(recent)
            if not page.get("next") or len(active) >= MOST or len(recent) < len(page["items"]):
                break
            page = await console.get("/api/sagas", **query, limit=100, cursor=page["next"])
    entries = [
        (entry["at"], id, entry)
        for id in list(active)[:MOST]
        for entry in (await console.get(f"/api/sagas/{id}/trace"))["entries"]
        if entry["at"] >= after
    ]
    for _at, id, entry in sorted(entries, key=lambda each: each[:2]):
        say_entry(entry, id, as_json)
    if len(active) > MOST:
        echo(f"{len(active)} sagas were active since then, {MOST} are shown: a shorter --since shows all", err=True)


def _say(event: Event, id: str | None, as_json: bool) -> None:
    if event.name == "step" and (id is None or _about(event, id)):
        say_entry(event.data["entry"], event.data["saga"]["id"], as_json)
    elif event.name == "lost":
        echo("the console is away, trying again", err=True)
    elif event.name == "reset":
        echo("the console began anew: something may be missing here", err=True)


def _iso_before(seconds: float) -> str:
    when = datetime.now(UTC) - timedelta(seconds=seconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
