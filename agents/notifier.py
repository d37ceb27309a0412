"""The Notifier: sends the e-mail, and the follow-up e-mail if the saga is rolled back."""

from saga_app import workers

app = workers.make("notifier")
