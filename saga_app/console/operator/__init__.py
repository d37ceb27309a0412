"""What an operator can do: redrive, roll back; which records it concerns, and at what rate."""
