"""A fake inventory server: `python -m training.inventory [--port 8099] [--devices 1000]`.

`PUT /reservations/KEY` with `{"department": …}` reserves a device, `DELETE /reservations/KEY` returns it, and
`GET /reservations` lists all reservations. The same key always gets the same device.
"""

import argparse
from hashlib import blake2b

from aiohttp import web


class Inventory:
    """The request handlers, and the reservations in memory: device ids by idempotency key."""

    def __init__(self, devices: int) -> None:
        self.devices = devices
        self.reserved: dict[str, str] = {}

    async def reserve(self, request: web.Request) -> web.Response:
        """Reserve a device for this key, or answer 409 if none is left."""
        key, department = request.match_info["key"], (await request.json())["department"]
        if key not in self.reserved and len(self.reserved) >= self.devices:
            return web.json_response({"error": "no device left"}, status=409)
        number = blake2b(key.encode(), digest_size=4).hexdigest().upper()
        return web.json_response({"device_id": self.reserved.setdefault(key, f"{department[:2].upper()}-{number}")})

    async def release(self, request: web.Request) -> web.Response:
        """Return the device of this key, if any."""
        return web.json_response({"released": self.reserved.pop(request.match_info["key"], None)})

    async def list(self, _request: web.Request) -> web.Response:
        """All reservations by key."""
        return web.json_response(self.reserved)


def application(devices: int) -> web.Application:
    """The web application with this number of devices in stock."""
    inventory = Inventory(devices)
    app = web.Application()
    app.router.add_get("/reservations", inventory.list)
    app.router.add_put("/reservations/{key}", inventory.reserve)
    app.router.add_delete("/reservations/{key}", inventory.release)
    return app


def main() -> None:
    """Serve on the loopback interface until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="training.inventory")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--devices", type=int, default=1000)
    options = parser.parse_args()
    print(f"inventory on http://127.0.0.1:{options.port}, {options.devices} devices", flush=True)
    web.run_app(application(options.devices), host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
