"""An HTTP server on this machine that gives prepared answers, and remembers what was asked."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """`length` is what Content-Length promises; None: the truth."""

    status: int = 200
    body: bytes = b""
    length: int | None = None


class Server:
    """asked: the path of each request, in order. Range is ignored, as UCI's server does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []

    def give(self, name: str, *answers: Answer) -> str:
        """Let these answers come in turn, the last one forever; return the URL."""
        self.answers[f"/{name}"] = list(answers)
        return f"{self.url}/{name}"

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        answers = self.answers[path]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = server.answer(self.path)
            self.send_response(answer.status)
            length = len(answer.body) if answer.length is None else answer.length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
