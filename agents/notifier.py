"""The Notifier: sends the e-mail, and a follow-up e-mail in a rollback."""

from saga_app import workers

app = workers.make("notifier")
