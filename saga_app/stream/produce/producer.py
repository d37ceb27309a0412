"""Faust's own producer, and with it the life of ours."""

from typing import Any

from faust.transport.drivers import aiokafka as driver

from saga_app.stream.metadata_backoff import calm


class Producer(driver.Producer):
    """Faust needs one (replies and the like); the outboxes start with it, before the consumer,
    and end with it, after the consumer's drain."""

    transport: Any

    async def on_start(self) -> None:
        """Open the outboxes."""
        self.transport.open_outboxes()
        await super().on_start()
        client: Any = self._producer
        calm(client.client)

    async def on_stop(self) -> None:
        """Close them."""
        await self.transport.close_outboxes()
        await super().on_stop()
