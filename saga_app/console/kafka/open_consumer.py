"""Starts consumers that belong to no group."""

from aiokafka import AIOKafkaConsumer

from saga_app.active_plan import TOPICS
from saga_app.console.kafka.close_client import close_clients
from saga_app.service.kafka import topics
from saga_app.stream.consume import header_names
from saga_app.stream.upstream.aiokafka import network_client, pause_after_failed_metadata_update


async def start_consumer(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Start a consumer with the metadata of all topics; otherwise it fetches them one by one, 0.1 s apart.

    Raises `KafkaError` after closing the consumer.
    """
    client = network_client(consumer)
    pause_after_failed_metadata_update(client)
    header_names.install()
    try:
        await consumer.start()
        await client.set_topics(set(TOPICS))
    except BaseException:
        await close_clients(consumer.stop())
        raise
    return consumer
