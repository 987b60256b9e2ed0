"""Fetching official files: retries, mirrors, hostile answers and interruptions, against a server on loopback."""

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from chainrule import dataset, sources
from chainrule.errors import ChainruleError
from chainrule.sources import Source

CONTENT = np.random.Generator(np.random.Philox(7)).bytes(300_000)  # several blocks, and it does not compress
OTHER = b"x,y\n1,2\n"
HTTP = ("http",)  # only a test says so; the program allows https alone


class Server:
    """Answers by path; each answer is a function of the request and of how often the path was asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler, int], None]] = {}
        self.asked: dict[str, int] = {}
        outer = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name http.server asks for
                """Answer."""
                outer.asked[self.path] = outer.asked.get(self.path, 0) + 1
                outer.answers[self.path](self, outer.asked[self.path])

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that lives as long as the test."""
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()
    running.thread.join()


def send(content: bytes, status: int = 200, announced: int = -1, **headers: str):
    """An answer with this content."""

    def answer(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) if announced < 0 else announced))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def after(failures: int, status: int, content: bytes):
    """An answer that comes after so many failures."""

    def answer(request: BaseHTTPRequestHandler, times: int) -> None:
        send(b"", status)(request, times) if times <= failures else send(content)(request, times)

    return answer


def source(*urls: str, name: str = "rows.bin", content: bytes = CONTENT, **more: object) -> Source:
    """An official file with this content."""
    return Source(name, sources.sha256(content), len(content), urls, **more)  # type: ignore[arg-type]


def fetch(folder: Path, *wanted: Source, progress: sources.Progress = lambda *_: None) -> list[Path]:
    """Fetch into a folder, http allowed, no waiting between attempts."""
    return sources.fetch_all(
        "made_up", wanted, [folder], ("made_up",), folder / "made_up", "digits", progress, HTTP, 0.0
    )


def refused(folder: Path, *wanted: Source) -> ChainruleError:
    """The error, after a check that it is E301 and that nothing was left behind."""
    with pytest.raises(ChainruleError) as caught:
        fetch(folder, *wanted)
    assert (caught.value.code, caught.value.exit_status) == ("E301", 69)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    return caught.value


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    """Two 503 and then the file: three requests, the file is there, and progress ends at its size."""
    server.answers["/f"] = after(2, 503, CONTENT)
    seen: list[tuple[str, int, int]] = []
    paths = fetch(tmp_path, source(f"{server.url}/f"), progress=lambda *step: seen.append(step))
    assert paths == [tmp_path / "made_up" / "rows.bin"]
    assert paths[0].read_bytes() == CONTENT
    assert server.asked == {"/f": 3}
    assert seen[-1] == ("rows.bin", len(CONTENT), len(CONTENT))
    assert [step[1] for step in seen] == sorted({step[1] for step in seen})


def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path) -> None:
    """403 and 404 are final: one request, then the mirror."""
    server.answers |= {"/f": send(b"", 403), "/g": send(CONTENT)}
    fetch(tmp_path, source(f"{server.url}/f", f"{server.url}/g"))
    assert server.asked == {"/f": 1, "/g": 1}


def test_a_wrong_file_leads_to_the_mirror(server: Server, tmp_path: Path) -> None:
    """A wrong hash, a web page and a gzip cut short are not kept; the mirror that has the file is."""
    server.answers |= {
        "/wrong": send(CONTENT[:-1] + b"?"),
        "/page": send(b"<!DOCTYPE html><title>Log in</title>"),
        "/cut": send(gzip.compress(CONTENT)[:-100]),
        "/right": send(gzip.compress(CONTENT)),
    }
    urls = [f"{server.url}{path}" for path in server.answers]
    (path,) = fetch(tmp_path, source(*urls))
    assert path.read_bytes() == CONTENT


def test_what_went_wrong_is_told_for_every_address(server: Server, tmp_path: Path) -> None:
    """E301 has the reason for each mirror in order, and says what to do, in exactly these words."""
    wrong = sources.sha256(OTHER)[:4]
    server.answers |= {
        "/a": send(b"", 403),
        "/b": send(OTHER),
        "/c": send(b"<html>"),
        "/d": send(b"", 503),
        "/e": send(CONTENT[:1000], announced=len(CONTENT)),
        "/f": send(gzip.compress(bytes(10**6))),
        "/g": send(b"", announced=10**13),
        "/h": send(b"", 302, Location="file:///etc/passwd"),
        "/i": send(b"", 302, Location="ftp://127.0.0.1/x"),
    }
    wanted = source(*(f"{server.url}{path}" for path in server.answers))
    error = refused(tmp_path, wanted)
    limit = 2 * len(CONTENT) + 2**20
    assert error.what == (
        "could not get made_up: 127.0.0.1: 403; "
        f"mirror 2: sha256 mismatch (got {wrong}…, want {wanted.sha256[:4]}…); "
        "mirror 3: it is a web page (HTML); mirror 4: 503; mirror 5: connection lost (IncompleteRead); "
        f"mirror 6: it unpacks to more than {len(CONTENT)} bytes; mirror 7: it sends more than {limit} bytes; "
        "mirror 8: 302; mirror 9: redirected to ftp, only http is allowed."
    )
    assert error.why == "Nothing was kept. A login page or proxy often causes a wrong hash."
    assert error.fix == (
        f"download {server.url}/a yourself, then  chainrule data add made_up FILE  (the hash is checked), "
        "or use --data digits (built in)."
    )
    assert (server.asked["/d"], server.asked["/e"], server.asked["/a"]) == (3, 3, 1)


def test_an_endless_answer_is_cut_off(server: Server, tmp_path: Path) -> None:
    """An answer of unannounced length is read up to twice the expected size and a megabyte, no further."""
    sent = []

    def endless(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                sent.append(request.wfile.write(bytes(2**16)))
        except OSError:
            pass

    server.answers["/f"] = endless
    assert "it sends more than" in refused(tmp_path, source(f"{server.url}/f")).what
    assert sum(sent) < 2**24  # the limit is 1.6 MB; the rest is what sockets hold


def test_a_trickle_is_given_up(server: Server, tmp_path: Path) -> None:
    """A server slower than the slowest allowed rate is left when the time for the file is over."""

    def trickle(request: BaseHTTPRequestHandler, _: int) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(500):
                request.wfile.write(b"x")
                time.sleep(0.01)
        except OSError:
            pass

    server.answers["/f"] = trickle
    with pytest.raises(sources.Refusal, match="slower than"):
        sources.receive(f"{server.url}/f", "f", 10**6, 0.2, lambda *_: None, HTTP)


def test_plain_http_is_never_used_unless_a_test_says_so(server: Server, tmp_path: Path) -> None:
    """Without the parameter of the tests no request leaves for an http address."""
    with pytest.raises(ChainruleError) as caught:
        sources.fetch_all(
            "x", (source(f"{server.url}/f"),), [tmp_path], ("x",), tmp_path / "x", "digits", lambda *_: None
        )
    assert caught.value.what == "could not get x: 127.0.0.1: http is not allowed, only https."
    assert server.asked == {}


def test_every_address_of_the_catalogue_is_https() -> None:
    """Each fetched dataset has https addresses only and pins size and hash of every file."""
    for name, one in dataset.catalogue().items():
        for official in one.sources:
            assert official.urls, name
            assert all(url.startswith("https://") for url in official.urls)
            assert len(official.sha256) == 64
            assert official.size > 0


def test_one_archive_serves_all_its_members(server: Server, tmp_path: Path) -> None:
    """Two files of one tar.gz are had with one request, each under its own name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in (("d/a", CONTENT), ("d/b", OTHER)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    server.answers["/t"] = send(packed.getvalue())
    wanted = [
        source(f"{server.url}/t", name=name, content=content, member=f"d/{name}", archives=("t.tgz",))
        for name, content in (("a", CONTENT), ("b", OTHER))
    ]
    paths = fetch(tmp_path, *wanted)
    assert [path.read_bytes() for path in paths] == [CONTENT, OTHER]
    assert server.asked == {"/t": 1}


def test_an_archive_known_by_its_own_hash_is_kept_whole(server: Server, tmp_path: Path) -> None:
    """If the archive has the published hash, its member is trusted, and the archive is what is kept and read again."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("d/a")
        member.size = len(OTHER)
        archive.addfile(member, io.BytesIO(OTHER))
    raw = packed.getvalue()
    server.answers["/t"] = send(raw)
    wanted = source(f"{server.url}/t", name="a", member="d/a", archives=("t.tgz",), archive_sha256=sources.sha256(raw))
    assert fetch(tmp_path, wanted) == [tmp_path / "made_up" / "t.tgz"]
    assert sources.read_all("made_up", (wanted,), [tmp_path], ("made_up",), "digits") == {"a": OTHER}
    assert fetch(tmp_path, wanted) == []


def test_a_rerun_fetches_only_what_is_missing(server: Server, tmp_path: Path) -> None:
    """After a failure between two files the first is kept and not asked for again."""
    server.answers |= {"/a": send(CONTENT), "/b": after(1, 404, OTHER)}
    wanted = [source(f"{server.url}/a", name="a"), source(f"{server.url}/b", name="b", content=OTHER)]
    with pytest.raises(ChainruleError) as caught:
        fetch(tmp_path, *wanted)
    assert caught.value.why == (
        "1 of 2 files are here, nothing is half-written. A login page or proxy often causes a wrong hash."
    )
    assert fetch(tmp_path, *wanted) == [tmp_path / "made_up" / "b"]
    assert server.asked == {"/a": 1, "/b": 2}


def test_a_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    """A file whose hash is wrong does not count as present; fetching replaces it."""
    server.answers["/f"] = send(CONTENT)
    path = tmp_path / "made_up" / "rows.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    assert fetch(tmp_path, source(f"{server.url}/f")) == [path]
    assert path.read_bytes() == CONTENT


def test_an_interruption_leaves_nothing(server: Server, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a download leaves no file, whole or partial."""
    server.answers["/f"] = send(CONTENT)

    def interrupt(name: str, received: int, announced: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, source(f"{server.url}/f"), progress=interrupt)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_killed_process_leaves_nothing(server: Server, tmp_path: Path) -> None:
    """SIGKILL in the middle of a download leaves no file, and the same call completes it afterwards."""
    half_sent = threading.Event()

    def stall(request: BaseHTTPRequestHandler, times: int) -> None:
        if times > 1:
            send(CONTENT)(request, times)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:150_000])
        half_sent.set()
        time.sleep(5)

    server.answers["/f"] = stall
    wanted = source(f"{server.url}/f")
    code = (
        "from pathlib import Path; from chainrule import sources\n"
        f"wanted = sources.Source({wanted.name!r}, {wanted.sha256!r}, {wanted.size}, {wanted.urls!r})\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "sources.fetch_all('made_up', (wanted,), [folder], ('made_up',), folder / 'made_up', 'digits',"
        " lambda *_: None, ('http',), 0)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    assert half_sent.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    (path,) = fetch(tmp_path, wanted)
    assert path.read_bytes() == CONTENT


def test_an_embedded_dataset_needs_no_fetching() -> None:
    """There is nothing to fetch for digits."""
    assert dataset.fetch("digits", lambda *_: None) == []


def test_a_file_fetched_by_hand_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data add` knows a file by its content: any name, plain or packed, lands under the official name, once."""
    monkeypatch.setenv("CHAINRULE_STORE", str(tmp_path / "store"))
    content = b"a synthetic official file"
    official = Source("rows.bin", sources.sha256(content), len(content))
    original = dataset.catalogue()["california"]
    replaced = replace(original, sources=(official,))
    monkeypatch.setattr(dataset, "catalogue", lambda: {"california": replaced})
    given = tmp_path / "download (3)"
    given.write_bytes(gzip.compress(content))
    target = tmp_path / "store" / "data" / "california" / "rows.bin"
    assert dataset.add("california", given) == [target]
    assert target.read_bytes() == content
    assert dataset.add("california", given) == [target]
    assert target.read_bytes() == content
