"""The Authorizer: grants the authorizations of the department's policy, and revokes them in a rollback."""

from saga_app import workers

app = workers.make("authorizer")
