"""Faust's own producer, and with it the life of ours."""

from typing import Any

from faust.transport.drivers import aiokafka as driver

from saga_app.stream.metadata_backoff import calm


class Producer(driver.Producer):
    """Faust needs one (replies and the like); the batching producers start with it, before the consumer,
    and end with it, after the consumer's drain."""

    transport: Any

    async def on_start(self) -> None:
        """Open the batching producers."""
        self.transport.open_producers()
        await super().on_start()
        client: Any = self._producer
        calm(client.client)

    async def on_stop(self) -> None:
        """Close them."""
        await self.transport.close_producers()
        await super().on_stop()
