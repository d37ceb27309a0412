"""The console: the page, the API and the stream, from a group-less reading of all topics."""

from typing import Any

from faust.web.base import BlueprintManager

from saga_app import workers
from saga_app.console.console import Console

app = workers.service("console", lambda settings: settings.console_port)
app.boot_strategy.enable_kafka = False  # it has no agents: no group to join, no producer to start
server: Any = app.web
server.blueprints = BlueprintManager(())  # Faust's own page would be in the place of ours
console = Console(app.settings)
console.add_routes(server.web_app)
app.before_start = (console.index.database.check,)
app.checks = (console.not_ready, console.broker_away, lambda: app.gate.topics.problem)
app.service(console)  # type: ignore[arg-type]  # an instance is fine, its signature does not say so
