"""Faust's own producer, which also opens and closes the batching producers."""

from typing import Any

from saga_app.stream.upstream.aiokafka import pause_after_failed_metadata_update
from saga_app.stream.upstream.faust import ProducerHooks


class Producer(ProducerHooks):
    """Faust needs a producer for replies and the like. It starts before the consumer and stops after the consumer's
    drain, and so do the batching producers.
    """

    transport: Any

    async def on_start(self) -> None:
        """Open the batching producers."""
        self.transport.open_producers()
        await super().on_start()
        pause_after_failed_metadata_update(self.network_client)

    async def on_stop(self) -> None:
        """Close the batching producers."""
        await self.transport.close_producers()
        await super().on_stop()
