"""Execution of steps: the Faust app of a service, its loop, external systems, health and metrics.

`World` is the base class for the external systems of a plan.
"""

from saga_app.service.world import World

__all__ = ["World"]
