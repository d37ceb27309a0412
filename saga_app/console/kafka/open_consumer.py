"""A consumer that belongs to no group: it looks at what stands in the topics."""

from aiokafka import AIOKafkaConsumer

from saga_app.active_plan import TOPICS
from saga_app.console.kafka.close_client import ended
from saga_app.service.kafka import topics
from saga_app.stream.consume import header_names
from saga_app.stream.upstream.aiokafka import network_client, pause_after_failed_metadata_update


async def opened(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Start it, and let it know all topics at once: it would ask for one after the other, with 0.1 s between them.

    Raises KafkaError, and has ended it then.
    """
    client = network_client(consumer)
    pause_after_failed_metadata_update(client)
    header_names.install()
    try:
        await consumer.start()
        await client.set_topics(set(TOPICS))
    except BaseException:
        await ended(consumer.stop())
        raise
    return consumer
