"""Workers are killed (SIGKILL) at the end of each stage of a record: every saga completes, and every mail is sent.

A mail can be repeated: one that the Notifier has sent and not yet recorded when it is killed.
"""

import asyncio
import signal
import subprocess
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from devtools.audit_command import audit
from devtools.wait import eventually
from saga_app.local.broker import Broker
from saga_app.saga.onboarding import ONBOARDING
from saga_app.service.kafka.topics import TOPICS
from tests.broker.service_processes import ServiceProcesses
from tests.fakes.topics import PARTITIONS
from tests.mail_server import mail_server
from tests.resilience.stages import STAGES
from tests.topics import rows, send, user

#: The number of sagas in a burst.
BURST = 12

#: How long a worker may take to start and to reach its stage (seconds).
KILLED_WITHIN_S = 120


@pytest.mark.timeout(600)
async def test_all_sagas_complete_when_each_service_is_killed_after_each_stage(tmp_path: Path) -> None:
    async with mail_server() as mails:
        with Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)) as broker:
            services = ServiceProcesses(broker.bootstrap, tmp_path)
            services.env |= {"SAGA_STORE": "rocksdb://", "SAGA_MAIL": f"smtp://127.0.0.1:{mails.port}"}
            ended = asyncio.Event()
            sending = asyncio.create_task(send_users(broker.bootstrap, ended))
            try:
                await asyncio.gather(*(kill_after_each_stage(services, service) for service in ONBOARDING.services))
            finally:
                ended.set()
            ids = await sending

            async def all_completed() -> bool:
                found = await asyncio.to_thread(rows, broker.bootstrap)
                return Counter(versions[-1].state for versions in found.values()) == {"completed": len(ids)}

            await eventually(all_completed, 60, "not all sagas completed")
            services.end()
            result = await asyncio.to_thread(audit, broker.bootstrap)
        assert result.clean, result.output
        assert {str(mail["To"]) for mail in mails.mails} == {f"{id}@example.com" for id in ids}


async def kill_after_each_stage(services: ServiceProcesses, service: str) -> None:
    """Let a worker of this service kill itself after each stage in turn, then start one that does not."""
    for name, stage in STAGES.items():
        if service in stage.services:
            services.start(service, "tests.resilience.killed_worker", KILLED_SERVICE=service, KILLED_AFTER=name)
            process = services.running[service]
            try:
                code = await asyncio.to_thread(process.process.wait, KILLED_WITHIN_S)
            except subprocess.TimeoutExpired:
                pytest.fail(f"{service} did not reach the end of the stage {name!r}:\n{process.output_tail()}")
            assert code == -signal.SIGKILL, f"{service} after {name}:\n{process.output_tail()}"
    services.start(service)


async def send_users(bootstrap: str, ended: asyncio.Event) -> list[str]:
    """Request sagas, alternately one and a burst that is handled together, until `ended`; returns their ids."""
    ids: list[str] = []
    for number in count():
        if ended.is_set():
            break
        new = [f"u{number}-{member}" for member in range(BURST if number % 2 else 1)]
        await asyncio.to_thread(send, bootstrap, "new-user", [(id.encode(), user(id)) for id in new])
        ids += new
        await asyncio.sleep(0.5)
    return ids
