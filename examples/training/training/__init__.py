"""The onboarding with an additional step: the Trainer books a course before the user is notified."""
