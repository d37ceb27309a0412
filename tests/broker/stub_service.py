"""A minimal service for tests of the supervisor: PORT [ignore-term]. GET /die ends it, GET /pid returns its pid."""

import os
import signal
import sys

from aiohttp import web

port, *options = sys.argv[1:]


async def ready(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ready"})


async def pid(_request: web.Request) -> web.Response:
    return web.Response(text=str(os.getpid()))


async def die(_request: web.Request) -> web.Response:
    print("these are my last words", flush=True)
    os._exit(7)


app = web.Application()
app.add_routes([web.get("/health/ready", ready), web.get("/pid", pid), web.get("/die", die)])
print(f"stub on {port}", flush=True)
if "ignore-term" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
web.run_app(app, host="127.0.0.1", port=int(port), print=None, handle_signals="ignore-term" not in options)
