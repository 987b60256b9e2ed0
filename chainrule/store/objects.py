"""The store: write-once objects, each a folder of files with a manifest of their hashes.

An object is there completely or not at all: it is built under a temporary name beside its place, synced, renamed.
Two writers need no lock, since only one rename succeeds and the other uses what it finds. Every read compares every
hash; what does not agree is set aside in ``quarantine/`` and counts as absent.

```
FORMAT                            version of this layout
objects/ab/ab12…/MANIFEST.json    kind, and sha256 and size of each file
objects/ab/ab12…/NAME             the files
quarantine/ab12…-0/               damaged objects: kept, never read
journal.jsonl                     run times and warnings: nothing hashes them, nothing depends on them
```
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import msgspec

from chainrule.errors import ChainruleError
from chainrule.store import disk
from chainrule.store.keys import FORMAT, canonical, digest

MANIFEST = "MANIFEST.json"
READ_ONLY = 0o444  # of the files; folders stay writable, as in git, so that a store can be moved and deleted
KEY = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


class FileRecord(msgspec.Struct, frozen=True):
    """What the manifest says of a file: the sha256 and the number of its bytes."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True):
    """What an object consists of."""

    files: dict[str, FileRecord]
    format: int
    key: str
    kind: str


@dataclass(frozen=True)
class Damage:
    """A place in the store that is not as it was written.

    Args:
        path: The object's folder, or the file.
        what: A clause: ``MANIFEST.json is missing``.
    """

    path: Path
    what: str


def sealed(manifest: Manifest) -> bytes:
    """The manifest's file: canonical JSON with its own hash, so that no byte of it can change unnoticed."""
    body = msgspec.to_builtins(manifest)
    return canonical(body | {"sha256": digest(canonical(body))}) + b"\n"


def format_text(version: int) -> bytes:
    """The file FORMAT, with its own hash: a flipped bit must not pass for another version."""
    line = f"chainrule store, format {version}\n"
    return f"{line}sha256 {digest(line.encode())}\n".encode()


def difference(key: str, found: dict[str, bytes]) -> str:
    """How the files of an object differ from its manifest, as a clause; empty if they agree."""
    if MANIFEST not in found:
        return f"{MANIFEST} is missing"
    try:
        manifest = msgspec.json.decode(found[MANIFEST], type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{MANIFEST} cannot be read"
    if sealed(manifest) != found[MANIFEST] or manifest.format != FORMAT:
        return f"{MANIFEST} has been changed"
    if manifest.key != key:
        return f"it is the object {manifest.key}, in the place of another"
    if extra := sorted(set(found) - set(manifest.files) - {MANIFEST}):
        return f"{extra[0]} does not belong to it"
    for name, record in sorted(manifest.files.items()):
        if name not in found:
            return f"{name} is missing"
        if len(found[name]) != record.size:
            return f"{name} has {len(found[name])} bytes instead of {record.size}"
        if digest(found[name]) != record.sha256:
            return f"{name} has the sha256 {digest(found[name])[:12]}… instead of {record.sha256[:12]}…"
    return ""


def contents_hash(found: dict[str, bytes]) -> str:
    """One hash for the files of an object without its manifest."""
    return digest(canonical({name: digest(data) for name, data in found.items() if name != MANIFEST}))


@dataclass(frozen=True)
class Store:
    """Named byte strings that stay: see the module's text. ``open_store`` makes one; this only names its folder.

    Args:
        folder: Where it lies.
    """

    folder: Path

    def place(self, key: str) -> Path:
        """The folder of an object, whether or not it is there.

        Raises:
            ChainruleError: E205, if ``key`` is not 64 hexadecimal digits: there can be no such object.
        """
        if KEY.fullmatch(key) is None:
            raise self._absent(key)
        return self.folder / "objects" / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether an object is there, completely; its hashes are compared only when it is read.

        Raises:
            ChainruleError: E203, E204, E205.
        """
        return disk.is_file(self.place(key) / MANIFEST)

    def get(self, key: str) -> dict[str, bytes]:
        """The files of an object, every hash compared; a damaged object is set aside and counts as absent.

        Raises:
            ChainruleError: E205, if it is absent or damaged; E203, E204.
        """
        found = disk.read_folder(self.place(key))
        if difference(key, found):
            if found:
                self._set_aside_damaged(key)
            raise self._absent(key)
        del found[MANIFEST]
        return found

    def put(self, key: str, files: dict[str, bytes], kind: str) -> None:
        """Write an object, once: if an intact one is there, that one stays and ``files`` are dropped.

        Args:
            key: What it is the result of, by ``keys.key``.
            files: Contents by name: letters, digits, ``._-``, at most 64.
            kind: A name by which ``keys`` lists it: ``"cell"``.

        Raises:
            ChainruleError: E201, E203, E204 (nothing is left of it then); E205, if ``key`` cannot be a key.
            ValueError: A name that cannot be a file's, or a kind that cannot be one.
        """
        self._first_of(key, files, kind)

    def obtain(self, key: str, kind: str, compute: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
        """The files of an object; computed and stored if it is absent or damaged.

        Args:
            key: What it is the result of, by ``keys.key``.
            kind: A name by which ``keys`` lists it.
            compute: Called only if there is no intact object.

        Returns:
            What the store holds: of two writers that computed the same thing, both return the first one's.

        Raises:
            ChainruleError: E201, E203, E204 (nothing is left of it then); E205, if ``key`` cannot be a key.
            ValueError: A name that cannot be a file's, or a kind that cannot be one.
        """
        found = disk.read_folder(self.place(key))
        what = difference(key, found)
        if not what:
            del found[MANIFEST]
            return found
        kept = self._set_aside_damaged(key) if found else ""
        files = self._first_of(key, compute(), kind)
        if kept:
            self._note_recomputed(key, kind, what, kept, contents_hash(found), contents_hash(files))
        return files

    def keys(self, kind: str) -> list[str]:
        """Sorted keys of the objects of one kind.

        Raises:
            ChainruleError: E203, E204.
        """
        keys = []
        for place in self._places():
            # A damaged manifest belongs to no kind; ``verify`` tells of it.
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                manifest = msgspec.json.decode(disk.read_or_empty(place / MANIFEST), type=Manifest)
                if manifest.kind == kind and manifest.key == place.name:
                    keys.append(place.name)
        return sorted(keys)

    def verify(self) -> list[Damage]:
        """Read everything and compare every hash; nothing is changed.

        Returns:
            All damage, sorted by path; ``set_aside`` takes it out of use.

        Raises:
            ChainruleError: E203, E204, if a folder cannot be listed.
        """
        damages = []
        file = self.folder / "FORMAT"
        if not disk.is_file(file):
            damages.append(Damage(file, "FORMAT is missing"))
        elif disk.read_or_empty(file) != format_text(FORMAT):
            damages.append(Damage(file, "FORMAT has been changed"))
        for place in self._places():
            if KEY.fullmatch(place.name) is None or place.parent.name != place.name[:2]:
                damages.append(Damage(place, "it does not belong in a store"))
                continue
            try:
                what = difference(place.name, disk.read_folder(place))
            except ChainruleError as error:
                what = error.what
            if what:
                damages.append(Damage(place, what))
        return damages

    def set_aside(self, damages: list[Damage]) -> None:
        """Move what ``verify`` found into ``quarantine/``, from where nothing is read and nothing deleted.

        Raises:
            ChainruleError: E201, E203, E204.
        """
        for damage in damages:
            self._set_aside(damage.path)

    def collect_garbage(self, *, dry_run: bool) -> list[Path]:
        """Remove what interrupted writers left: temporaries without a living owner on this machine.

        Those of other machines that share the store are removed too, which ``open_store`` never does: so collect only
        while no other machine is writing.

        Args:
            dry_run: Tell what would be removed, and remove nothing.

        Returns:
            The sorted temporaries.

        Raises:
            ChainruleError: E203, E204.
        """
        garbage = sorted(
            folder / name
            for folder in self._folders()
            for name in disk.names(folder)
            if disk.is_orphan(name) or disk.is_foreign(name)
        )
        if not dry_run:
            for path in garbage:
                disk.remove_temporary(path)
        return garbage

    def note(self, line: str) -> None:
        """Append one line of JSON to the journal, which nothing hashes: the place for run times and warnings.

        Raises:
            ChainruleError: E201, E203, E204.
            ValueError: More than one line.
        """
        if "\n" in line:
            raise ValueError("A note is one line.")
        # The first newline ends a line that a killed writer left torn, so that it does not swallow this one.
        disk.append(self.folder / "journal.jsonl", f"\n{line}\n".encode())

    def notes(self) -> list[str]:
        """The lines of the journal, oldest first; what is no JSON, such as a torn line, is passed over.

        Raises:
            ChainruleError: E203, E204.
        """
        lines = []
        for line in disk.read_or_empty(self.folder / "journal.jsonl").split(b"\n"):
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                msgspec.json.decode(line, type=dict[str, object])
                lines.append(line.decode())
        return lines

    # ---- what the methods above are made of

    def _absent(self, key: str) -> ChainruleError:
        return ChainruleError(
            "E205",
            f"the store {self.folder} holds no object {key!r}.",
            "It was never computed here, or it was found damaged and set aside in quarantine/.",
            "run the command that computes it again; what is finished is kept.",
        )

    def _first_of(self, key: str, files: dict[str, bytes], kind: str) -> dict[str, bytes]:
        """Write an object, unless another writer was first and its object is intact; the files that the store holds."""
        while not self._publish(key, files, kind):
            place = self.place(key)
            found = disk.read_folder(place)
            if not difference(key, found):
                del found[MANIFEST]
                return found
            if found:
                self._set_aside_damaged(key)
            elif place.name in disk.names(place.parent) and not disk.is_folder(place):
                self._set_aside(place)
        return files

    def _publish(self, key: str, files: dict[str, bytes], kind: str) -> bool:
        """Build an object beside its place and rename it; False if the place was taken."""
        for name in [kind, *files]:
            if NAME.fullmatch(name) is None or name == MANIFEST:
                raise ValueError(f"{name!r} cannot name a file or a kind of object.")
        place = self.place(key)
        records = {name: FileRecord(digest(data), len(data)) for name, data in files.items()}
        manifest = sealed(Manifest(records, FORMAT, key, kind))
        disk.make_folder(place.parent)
        temporary = place.parent / disk.temporary_name()
        try:
            disk.make_folder(temporary, synced=False)
            for name, data in sorted(files.items()):
                disk.write_synced(temporary / name, data, READ_ONLY)
            disk.write_synced(temporary / MANIFEST, manifest, READ_ONLY)
            disk.sync_folder(temporary)
            published = disk.rename(temporary, place)
            if published:
                disk.sync_folder(place.parent)
            else:
                disk.remove_folder(temporary)
        except BaseException:
            # Ctrl-C too leaves nothing behind. A second error says less than the first, so the first one is told.
            with suppress(ChainruleError):
                disk.remove_folder(temporary)
            raise
        return published

    def _set_aside(self, path: Path) -> str:
        """Rename into the first free ``quarantine/NAME-i``; its path within the store, empty if nothing was there."""
        quarantine = self.folder / "quarantine"
        while path.name in disk.names(path.parent):
            disk.make_folder(quarantine)
            taken = disk.names(quarantine)
            name = next(name for i in count() if (name := f"{path.name[:64]}-{i}") not in taken)
            if disk.rename(path, quarantine / name):
                disk.sync_folder(quarantine)
                disk.sync_folder(path.parent)
                return f"quarantine/{name}"
        return ""

    def _set_aside_damaged(self, key: str) -> str:
        """Set an object aside that was read as damaged; as ``_set_aside``, empty if it was not, after all."""
        kept = self._set_aside(self.place(key))
        # Between that reading and the renaming another process may have put an intact object in its place. It goes
        # back, unless a third process has written the object once more; then this copy of it stays in quarantine.
        if kept and not difference(key, disk.read_folder(self.folder / kept)):
            disk.rename(self.folder / kept, self.place(key))
            return ""
        return kept

    def _note_recomputed(self, key: str, kind: str, what: str, kept: str, old: str, new: str) -> None:
        """Warning W203 in the journal, with the hash of the damaged contents and that of the new ones."""
        warning = {
            "code": "W203",
            "what": f"the {kind} {key[:12]}… was damaged and has been computed again: {what}.",
            "why": f"Its contents had the sha256 {old[:12]}…, now {new[:12]}…; the damaged ones are in {kept}.",
            "fix": "nothing needs to be done; if it happens again, check the disk (chainrule verify).",
        }
        self.note(canonical(warning).decode())

    def _places(self) -> Iterator[Path]:
        """Everything that lies where objects lie, in order, except temporaries."""
        objects = self.folder / "objects"
        for prefix in disk.names(objects):
            if not disk.is_folder(objects / prefix):
                yield objects / prefix
            for name in disk.names(objects / prefix):
                if disk.TEMPORARY.fullmatch(name) is None:
                    yield objects / prefix / name

    def _folders(self) -> list[Path]:
        """The folders in which objects and documents are written: down to two below the store's."""
        outer = [self.folder / name for name in disk.names(self.folder) if name != "quarantine"]
        return [self.folder, *outer, *(folder / name for folder in outer for name in disk.names(folder))]


def open_store(folder: Path | str) -> Store:
    """The store in a folder, made if need be; temporaries of dead processes are removed.

    A store that is complete can be opened where nothing may be written.

    Raises:
        ChainruleError: E202, if a newer version of chainrule made it; E201, E203, E204.
    """
    store = Store(Path(folder))
    file = store.folder / "FORMAT"
    present = "FORMAT" in disk.names(store.folder)  # asked first: what another process writes meanwhile is no damage
    text = disk.read_or_empty(file) if disk.is_file(file) else b""
    version = re.match(rb"chainrule store, format (\d{1,9})\n", text)
    if version and int(version[1]) > FORMAT and text == format_text(int(version[1])):
        raise ChainruleError(
            "E202",
            f"the store {folder} has format {int(version[1])}; this chainrule knows formats up to {FORMAT}.",
            "A newer version of chainrule made it. Nothing was read or changed.",
            "update chainrule, or set CHAINRULE_STORE to another folder.",
        )
    if text != format_text(FORMAT):
        # A damaged FORMAT endangers no object, since each carries its own format and hashes.
        store.set_aside([Damage(file, "FORMAT has been changed")] if present else [])
        disk.write_atomic(file, format_text(FORMAT))
    disk.make_folder(store.folder / "objects")
    for below in store._folders():
        disk.remove_orphans(below)
    return store
