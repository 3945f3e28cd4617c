"""Headers of every answer of the demo, by which the browser lets nothing run or load that is not the page's own."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's page has scripts and styles inside it, makes functions of text, and shows what it made as `blob:`.
PAGE = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'"
)
# Of what visitors uploaded and what was made of it: whatever it is, it runs nothing when it is opened by itself.
FILE = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; sandbox"


class SafeHeaders:
    """ASGI middleware that adds `Content-Security-Policy`, `X-Content-Type-Options` and `Referrer-Policy`.

    Who may show the page in a frame is not limited: a Space is shown in one.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = FILE if "/file=" in scope["path"] else PAGE

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
            await send(message)

        await self._app(scope, receive, send_with_headers)
