"""The Notifier: tells the user by e-mail, and in a second one that the first is void."""

from saga_app import workers
from saga_app.service import build
from tables.effects import effects

app = workers.service("notifier", lambda settings: settings.notifier_port)
build.serve_steps(app, effects=effects(app))
