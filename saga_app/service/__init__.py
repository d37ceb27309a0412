"""How a step runs: the Faust app of a service, its loop, the outside world, its health.

`World` is the base class of the adapters of a plan.
"""

from saga_app.service.world import World

__all__ = ["World"]
