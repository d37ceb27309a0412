"""The Authorizer: grants what the department's policy says, and revokes it."""

from saga_app import workers

app = workers.make("authorizer")
