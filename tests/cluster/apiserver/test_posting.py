"""The small HTTPS client of webhooks, against servers that answer in every way that HTTP allows, and in some others."""

import asyncio
import ssl
import time

import pytest

from koordinator.cluster.apiserver import pki
from koordinator.cluster.apiserver.posting import Place, Poster, PostFailed, split

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Server:
    """Answers every request with the next of some bytes; None closes the connection without an answer."""

    def __init__(self, answers):
        self.answers, self.connections, self.requests = answers, 0, []

    async def __call__(self, reader, writer):
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.requests.append((head, await reader.readexactly(size)))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for part in answer if isinstance(answer, list) else [answer]:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if b"HTTP/1.0" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@pytest.fixture
async def serving(tmp_path):
    authority = pki.ensure(tmp_path / "pki", time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.certificate("apiserver"))
    trusting = ssl.create_default_context(cafile=str(authority.ca))
    poster, servers = Poster(), []

    async def start(*answers):
        server = Server(list(answers))
        listener = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
        servers.append(listener)
        port = listener.sockets[0].getsockname()[1]

        async def post(body=b"{}"):
            async with asyncio.timeout(5):
                reply = await poster.post(Place("127.0.0.1", port, trusting, ""), "/a?b=c", body)
            return reply.status, reply.body

        return server, post

    yield start
    poster.close()
    for listener in servers:
        listener.close()
        await listener.wait_closed()


async def test_a_connection_is_used_again(serving):
    server, post = await serving(LENGTH, LENGTH, LENGTH)
    for number in range(3):
        assert await post(b"%d" % number) == (200, b"hello")
    assert server.connections == 1
    assert [body for _, body in server.requests] == [b"0", b"1", b"2"]
    assert server.requests[0][0].startswith(b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n", (200, b"hello")),
        ([b"HTTP/1.1 20", b"0 OK\r\ncontent-LENGTH: 5\r\n", b"\r\nhe", b"llo"], (200, b"hello")),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", b"\r\nhel", b"lo\r\n0\r\n", b"\r\n"], (200, b"hello")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH, (200, b"hello")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", (500, b"")),
    ],
)
async def test_ways_to_answer(serving, answer, expected):
    server, post = await serving(answer, LENGTH)
    assert await post() == expected
    assert await post() == (200, b"hello")
    assert server.connections == 1


async def test_an_answer_that_ends_with_the_connection(serving):
    server, post = await serving(b"HTTP/1.0 200 OK\r\n\r\nhello", LENGTH)
    assert await post() == (200, b"hello")
    assert await post() == (200, b"hello")
    assert server.connections == 2


async def test_a_connection_closed_while_idle_is_replaced(serving):
    server, post = await serving(LENGTH, None, LENGTH)
    assert await post() == (200, b"hello")
    assert await post() == (200, b"hello")
    assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "EOF"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is no HTTP"),
    ],
)
async def test_answers_that_are_none(serving, answer, words):
    _, post = await serving(answer)
    with pytest.raises(PostFailed, match=words):
        await post()


def test_urls():
    with pytest.raises(PostFailed, match="over https"):
        split("http://127.0.0.1/x")
    with pytest.raises(PostFailed):
        split("https://127.0.0.1:99999/x")
    assert split("https://[::1]:8443") == ("::1", 8443, "/")
    assert split("https://a.example.com/b?c=d") == ("a.example.com", 443, "/b?c=d")
