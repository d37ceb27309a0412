"""The Provisioner: assigns a device and starts the saga, takes the device back, and records how the saga ended."""

from saga_app import workers

app = workers.make("provisioner")
