"""An HTTP server on this machine that answers as it is told, and remembers what was asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """`length` is what Content-Length promises (None: the truth); `hang` keeps the line open.

    A header given as None is not sent.
    """

    status: int = 200
    body: bytes = b""
    length: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    hang: bool = False


Given = Answer | Callable[[str | None], Answer]


def resumable(content: bytes) -> Callable[[str | None], Answer]:
    """The answers of a server that honours Range."""

    def answer(asked: str | None) -> Answer:
        if asked is None:
            return Answer(body=content)
        first = int(asked.removeprefix("bytes=").removesuffix("-"))
        if first >= len(content):
            return Answer(416, headers={"Content-Range": f"bytes */{len(content)}"})
        return part_of(content, first)

    return answer


def part_of(content: bytes, first: int) -> Answer:
    """A 206 with all of `content` from the byte `first`."""
    sent = f"bytes {first}-{len(content) - 1}/{len(content)}"
    return Answer(206, content[first:], headers={"Content-Range": sent})


class Server:
    """asked: path and headers of each request, in order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, list[Given]] = {}
        self.asked: list[tuple[str, Message]] = []
        self.closing = threading.Event()

    def give(self, name: str, *answers: Given) -> str:
        """Let these answers come in turn, the last for ever; the URL."""
        self.answers[f"/{name}"] = list(answers)
        return f"{self.url}/{name}"

    @property
    def ranges(self) -> list[str | None]:
        return [headers["Range"] for _, headers in self.asked]

    def answer(self, path: str, headers: Message) -> Answer:
        self.asked.append((path, headers))
        answers = self.answers[path]
        given = answers.pop(0) if len(answers) > 1 else answers[0]
        return given(headers["Range"]) if callable(given) else given


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = server.answer(self.path, self.headers)
            self.send_response(answer.status)
            length = len(answer.body) if answer.length is None else answer.length
            for name, value in {"Content-Length": str(length), **answer.headers}.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
            if answer.hang:
                server.closing.wait(60)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            http.shutdown()
            thread.join()
