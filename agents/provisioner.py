"""The Provisioner: assigns a device, owns the saga rows, and takes the device back in a rollback."""

from saga_app import workers

app = workers.make("provisioner")
