import asyncio

import pytest

from ccformer_hf.demo.headers import FILE, PAGE, SafeHeaders


def answer(path: str, kind: str = "http") -> list[dict]:
    """What a server with the middleware sends for a path."""
    sent = []

    async def app(scope, receive, send):
        headers = [(b"content-type", b"text/html"), (b"content-security-policy", b"none of ours")]
        await send({"type": f"{kind}.response.start", "status": 200, "headers": headers})
        await send({"type": f"{kind}.response.body", "body": b"<html>"})

    async def send(message):
        sent.append(message)

    asyncio.run(SafeHeaders(app)({"type": kind, "path": path}, None, send))
    return sent


@pytest.mark.parametrize(("path", "policy"), [("/", PAGE), ("/config", PAGE), ("/gradio_api/file=/x/clip.svg", FILE)])
def test_every_answer_says_what_may_run(path, policy):
    start, body = answer(path)
    assert dict(start["headers"]) == {
        b"content-type": b"text/html",
        b"content-security-policy": policy.encode(),
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"same-origin",
    }
    assert body["body"] == b"<html>"


def test_what_is_no_page_goes_through(path="/"):
    assert len(answer(path, "websocket")[0]["headers"]) == 2
