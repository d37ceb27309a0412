"""The Provisioner: assigns a device and starts the saga, takes the device back, and notes how it ended.

It keeps the row of every saga, so it is the one who says what is overdue, and who decides on what an operator wants.
"""

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from saga_app import workers
from saga_app.saga.messages import CHANGELOG, DLQ, SIGNALS
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service import build
from saga_app.service.kafka.broker_clock import BrokerClock
from saga_app.service.kafka.headroom import ChangelogRoom
from saga_app.service.memory.deadlines import Deadlines, Timer
from saga_app.service.memory.rows import Rows
from saga_app.service.observer import Observer
from saga_app.web import views
from tables.sagas import sagas

app = workers.service("provisioner", lambda settings: settings.provisioner_port)
table = sagas(app)
settings = app.settings
room = ChangelogRoom(settings.partitions) if settings.embedded else None
deadlines = Deadlines(ONBOARDING, settings.deadline)
rows = Rows(table, deadlines.wrote, *([room.wrote] if room else []))
broker_clock = BrokerClock(CHANGELOG)
table.on_acknowledged = lambda kind, at: broker_clock.observe(kind == TIMESTAMP_LOG_APPEND_TIME, at)
observer = Observer(ONBOARDING, rows, settings.partitions, app.refusals)

build.serve_steps(app, rows, broker_clock=broker_clock)
build.listen(app, DLQ, "Note that a saga is parked and waits for somebody.", "parked", observer)
build.listen(app, SIGNALS, "Note what went wrong with a saga, and who intervened.", "signals", observer)
app.service(Timer(app, table, rows, deadlines))  # type: ignore[arg-type]  # an instance is fine
views.add_routes(app, table, rows, room)
