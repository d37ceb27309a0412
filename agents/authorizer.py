"""The Authorizer: grants what the department's policy says, and revokes it."""

from saga_app import workers
from saga_app.service import build
from tables.effects import effects

app = workers.service("authorizer", lambda settings: settings.authorizer_port)
build.serve_steps(app, effects=effects(app))
