"""Every error response has the form of RFC 9457 (application/problem+json)."""

from aiohttp import web

from saga_app.web.problem import Problem
from tests.web_server import post_bytes, problem_of, route, serving


async def fail(request: web.Request) -> web.Response:
    """Fail in the way that the query parameter `how` names."""
    match request.query.get("how"):
        case "bug":
            raise ZeroDivisionError("secret internals")
        case "away":
            raise Problem(503, "the broker is away")
        case "fields":
            raise Problem(422, "no", errors=[{"index": 3, "field": "email", "message": "is missing"}])
        case "more":
            raise Problem(409, "exists", headers={"Location": "/x"}, url="/x")
        case "redirect":
            raise web.HTTPFound("/elsewhere")
    return web.Response(text="fine")


async def test_a_bug_is_a_500_without_internal_details() -> None:
    async with serving(route("GET", "/x", fail)) as client:
        body = await problem_of(await client.get("/x?how=bug"), 500)
        assert "secret" not in str(body)
        assert "Division" not in str(body)


async def test_an_unknown_path_and_a_wrong_method_are_problems() -> None:
    async with serving(route("GET", "/x", fail)) as client:
        assert "/y" in (await problem_of(await client.get("/y"), 404))["detail"]
        answer = await client.delete("/x")
        await problem_of(answer, 405)
        assert "GET" in answer.headers["Allow"]


async def test_a_503_has_a_retry_after_header() -> None:
    async with serving(route("GET", "/x", fail)) as client:
        answer = await client.get("/x?how=away")
        assert (await problem_of(answer, 503))["detail"] == "the broker is away"
        assert int(answer.headers["Retry-After"]) > 0


async def test_a_problem_can_have_field_errors_and_extension_members() -> None:
    async with serving(route("GET", "/x", fail)) as client:
        body = await problem_of(await client.get("/x?how=fields"), 422)
        assert body["errors"] == [{"index": 3, "field": "email", "message": "is missing"}]
        assert body["instance"] == "/x"
        answer = await client.get("/x?how=more")
        assert (await problem_of(answer, 409))["url"] == answer.headers["Location"] == "/x"


async def test_undecodable_bytes_of_a_client_are_not_a_bug() -> None:
    async def quote_content_type(request: web.Request) -> web.Response:
        raise Problem(415, f"the Content-Type is {request.headers['Content-Type']}")

    async with serving(route("POST", "/x", quote_content_type)) as client:
        answer = await post_bytes(client, "/x", {}, {"Content-Type": b"\xff"})
        assert (await problem_of(answer, 415))["detail"] == "the Content-Type is ?"


async def test_a_refusal_before_the_handler_is_a_problem() -> None:
    async with serving(route("GET", "/x", fail)) as client:
        answer = await client.get("/x", headers={"Expect": "the impossible"})
        assert "the impossible" in (await problem_of(answer, 417))["detail"]


async def test_a_redirect_is_not_a_problem() -> None:
    async with serving(route("GET", "/x", fail)) as client:
        assert (await client.get("/x?how=redirect", allow_redirects=False)).status == 302
