"""The onboarding with a fourth step: the Trainer books a course before the user is notified."""
