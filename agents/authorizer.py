"""The Authorizer: grants what the department's policy says, and revokes it."""

from saga_app.service import build
from saga_app.service.effects import Effects
from tables.effects import effects

app = build.service("authorizer", lambda settings: settings.authorizer_port)
build.serve_steps(app, effects=Effects(effects(app)))
