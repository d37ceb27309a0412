"""The Notifier: tells the user by e-mail."""

from saga_app.service import build

app = build.service("notifier", lambda settings: settings.notifier_port)
build.serve_steps(app)
