"""Run the supervisor with stub services: [broker] PORT[:ignore-term] …"""

import asyncio
import os
import sys
from pathlib import Path

from saga_app.local.broker import Broker
from saga_app.local.child_process import Service
from saga_app.local.console_output import ConsoleOutput
from saga_app.local.supervisor import Supervisor

STUB = Path(__file__).with_name("stub_service.py")


def service(number: int, argument: str) -> Service:
    port, *options = argument.split(":")
    return Service(
        f"stub{number}", (sys.executable, str(STUB), port, *options), dict(os.environ), f"http://127.0.0.1:{port}"
    )


async def main() -> None:
    arguments = sys.argv[1:]
    broker = None
    if arguments[0] == "broker":
        arguments, broker = arguments[1:], lambda: Broker(topics={"t": 1})
    services = [service(number, argument) for number, argument in enumerate(arguments)]
    output = ConsoleOutput(each.name for each in services)

    async def ready() -> None:
        output.plain("ready: all")

    await Supervisor(services, output, broker=broker, ready=ready).run()
    output.status("stopped")


asyncio.run(main())
