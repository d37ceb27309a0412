"""A consumer that belongs to no group: it looks at what stands in the topics."""

from typing import Any

from aiokafka import AIOKafkaConsumer

from saga_app.console.kafka.close_client import ended
from saga_app.service.kafka import topics
from saga_app.stream.consume import header_names
from saga_app.stream.metadata_backoff import calm


async def opened(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Start it, and let it know all topics at once: it would ask for one after the other, with 0.1 s between them.

    Raises KafkaError, and has ended it then.
    """
    client: Any = consumer._client
    calm(client)
    header_names.install()
    try:
        await consumer.start()
        await client.set_topics(set(topics.READ))
    except BaseException:
        await ended(consumer.stop())
        raise
    return consumer
