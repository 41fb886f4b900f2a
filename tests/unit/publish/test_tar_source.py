"""The archive: it unpacks to what was there, whoever unpacks it and whatever happened meanwhile."""

from __future__ import annotations

import io
import os
import tarfile
from decimal import Decimal
from pathlib import Path

import pytest

from streamtos3.errors import Interrupted, SourceError, UsageError
from streamtos3.publish.tar_source import ArchiveSource, archive_key
from streamtos3.publish.tree import walk
from streamtos3.runtime.cancel import Cancelled, CancelScope
from tests.rig.support import MIB, payload

ODD_NAMES = (
    *(
        "a",
        "-dash",
        "with space",
        "line\nbreak",
        "tab\there",
        "é",
        "\U0001f600",
        "*?",
        "back\\slash",
    ),
    *("{template}", "x" * 200, "d/" + "y" * 200, "d/e/" + "ü" * 100, "plus+%20", "'\"<>&"),
)


def source_of(directory: Path, *, follow_links: bool = False) -> ArchiveSource:
    return ArchiveSource(walk(str(directory), follow_links=follow_links))


def read(source: ArchiveSource, view_bytes: int = 1 << 16) -> bytes:
    view = memoryview(bytearray(view_bytes))
    pieces = []
    with CancelScope() as scope:
        source.start()
        while count := source.readinto(view, scope):
            pieces.append(bytes(view[:count]))
        source.finish(scope)
        source.close()
    return b"".join(pieces)


def contents(directory: Path) -> dict[str, object]:
    """Everything below a directory that an archive has to bring back."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        name = os.fsencode(path.relative_to(directory))
        what = (
            os.readlink(path)
            if path.is_symlink()
            else path.read_bytes()
            if path.is_file()
            else "directory"
        )
        mtime = round(status.st_mtime, 3) if not path.is_symlink() else None
        found[os.fsdecode(name)] = (what, status.st_mode, status.st_uid, mtime)
    return found


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A directory with odd names, sizes around a block, links and empty directories."""
    directory = tmp_path / "results"
    directory.mkdir()
    for number, name in enumerate(ODD_NAMES):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payload(number * 7))
        os.utime(path, ns=(10**18, 10**18 + number * 1_000_000))
    (directory / os.fsdecode(b"latin-\xe9")).write_bytes(b"latin")
    for size_bytes in (0, 1, 511, 512, 513, 10240, 3 * MIB + 1):
        (directory / f"size{size_bytes}").write_bytes(payload(size_bytes))
    (directory / "empty" / "deeper").mkdir(parents=True)
    (directory / "link").symlink_to("a")
    (directory / "broken").symlink_to("no\nthing")
    (directory / "read-only").write_bytes(b"r")
    (directory / "read-only").chmod(0o444)
    return directory


def test_tarfile_unpacks_what_was_there(results: Path, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(read(source_of(results)))) as archive:
        archive.extractall(tmp_path / "out", filter="fully_trusted")
    assert contents(tmp_path / "out") == contents(results)


@pytest.mark.parametrize(
    "time_ns",
    [
        *(0, 1, 10**9, 1_500_000_000, 1_700_000_000_123_456_789, 1_700_000_000_999_999_999),
        *(8**11 * 10**9, 8**11 * 10**9 + 1, -1, -1_500_000_000, -2_000_000_000),
    ],
)
def test_a_time_keeps_its_nanoseconds(tmp_path: Path, time_ns: int) -> None:
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "file"
    file.touch()
    os.utime(file, ns=(0, time_ns))
    assert file.stat().st_mtime_ns == time_ns
    packed = read(source_of(tmp_path / "in"))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        (member,) = archive.getmembers()
        seconds = member.pax_headers.get("mtime", str(member.mtime))
    assert Decimal(seconds) * 10**9 == time_ns


def test_the_same_directory_gives_the_same_bytes_however_it_is_read(results: Path) -> None:
    packed = read(source_of(results))
    assert len(packed) % tarfile.RECORDSIZE == 0
    for view_bytes in (1000, 7, 4 * MIB):
        assert read(source_of(results), view_bytes) == packed


def test_the_members_are_in_the_order_of_the_tree(results: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(read(source_of(results)))) as archive:
        names = archive.getnames()
    assert names == [each.path for each in walk(str(results), follow_links=False).entries]


def test_an_empty_directory_is_an_empty_archive(tmp_path: Path) -> None:
    packed = read(source_of(tmp_path))
    assert packed == bytes(tarfile.RECORDSIZE)


def test_followed_links_are_what_they_point_to(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"outside")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("../out")
    packed = read(source_of(tmp_path / "in", follow_links=True))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        (member,) = archive.getmembers()
        file = archive.extractfile(member)
        assert member.isreg() and file is not None and file.read() == b"outside"


class While(ArchiveSource):
    """An archive during whose reading something happens to `file`, once it has been begun."""

    def __init__(self, directory: Path, change: object) -> None:
        super().__init__(walk(str(directory), follow_links=False))
        self.change = change

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        count = super().readinto(view[: 1 << 16], scope)
        if callable(self.change):
            self.change()
            self.change = None
        return count


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """`b` is changed while it is read; `c` must not notice."""
    (tmp_path / "b").write_bytes(payload(MIB + 100))
    (tmp_path / "c").write_bytes(b"the last one")
    return tmp_path


def members(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]


def test_a_file_that_shrinks_is_filled_up_and_named(three: Path) -> None:
    source = While(three, lambda: os.truncate(three / "b", MIB // 2))
    found = members(read(source))
    assert source.changed == ["b"]
    assert found["c"] == b"the last one"
    assert len(found["b"]) == MIB + 100
    assert found["b"][: MIB // 2] == payload(MIB // 2)
    assert not any(found["b"][MIB // 2 :])


def test_a_file_that_grows_is_cut_and_named(three: Path) -> None:
    def grow() -> None:
        with (three / "b").open("ab") as file:
            file.write(bytes(MIB))

    source = While(three, grow)
    assert members(read(source)) == {"b": payload(MIB + 100), "c": b"the last one"}
    assert source.changed == ["b"]


def test_a_file_that_is_replaced_keeps_its_old_content_and_is_named(three: Path) -> None:
    def replace() -> None:
        (three / "new").write_bytes(payload(MIB + 100, seed=1))
        os.utime(three / "new", ns=(10**18, (three / "b").stat().st_mtime_ns))
        (three / "new").rename(three / "b")

    source = While(three, replace)
    assert members(read(source))["b"] == payload(MIB + 100)
    assert source.changed == ["b"]


def test_a_file_that_stays_as_it_is_is_not_named(three: Path) -> None:
    source = While(three, lambda: None)
    read(source)
    assert (source.changed, source.unreadable) == ([], [])


def test_what_has_gone_is_left_out_and_named(three: Path) -> None:
    source = source_of(three)
    (three / "b").unlink()
    assert members(read(source)) == {"c": b"the last one"}
    assert [each.path for each in source.unreadable] == ["b"]
    assert source.unreadable[0].reason == f"cannot read {three}/b: no such file or directory"


def test_what_has_become_a_pipe_or_a_link_is_left_out_and_waits_for_nobody(three: Path) -> None:
    source = source_of(three)
    for name in "bc":
        (three / name).unlink()
    os.mkfifo(three / "b")
    (three / "c").symlink_to("/etc/passwd")
    assert members(read(source)) == {}
    assert [each.path for each in source.unreadable] == ["b", "c"]


def test_a_read_error_in_the_middle_ends_the_archive(tmp_path: Path) -> None:
    """Its header is written already; a hole in its place would look like content."""
    (tmp_path / "mem").symlink_to("/proc/self/mem")
    source = source_of(tmp_path, follow_links=True)
    with pytest.MonkeyPatch.context() as patch:
        real = os.fstat
        patch.setattr("streamtos3.sources.regular_file.os.fstat", lambda fd: _sized(real(fd)))
        with pytest.raises(SourceError, match="input/output error"):
            read(source)
    source.close()


def _sized(status: os.stat_result) -> os.stat_result:
    seen = (*status[:6], 4096, *status[7:])
    return os.stat_result(seen, {"st_mtime_ns": status.st_mtime_ns})


def test_a_stop_passes_through_and_the_open_file_is_closed(three: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = source_of(three)
    with CancelScope() as scope:
        view = memoryview(bytearray(4096))
        source.readinto(view, scope)
        source.readinto(view, scope)
        scope.fail(Interrupted(15))
        with pytest.raises(Cancelled):
            source.readinto(view, scope)
        source.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "key, codec, expected",
    [
        ("", None, "results.tar"),
        ("p/", "gzip", "p/results.tar.gz"),
        ("p/", "zstd", "p/results.tar.zst"),
        ("p/x", None, "p/x.tar"),
        ("p/x.tar", None, "p/x.tar"),
        ("p/x.tar", "gzip", "p/x.tar.gz"),
        ("p/x.tar.gz", "gzip", "p/x.tar.gz"),
        ("p/x.tgz", "gzip", "p/x.tgz"),
        ("p/x.tgz", "zstd", "p/x.tgz.tar.zst"),
        ("p/x.tar.gz", None, "p/x.tar.gz.tar"),
        ("p/x.tar.gz", "zstd", "p/x.tar.gz.tar.zst"),
    ],
)
def test_the_archives_key(tmp_path: Path, key: str, codec: str | None, expected: str) -> None:
    (tmp_path / "results").mkdir()
    assert archive_key(key, f"{tmp_path}/results/.", codec) == expected


def test_the_root_directory_has_no_name_for_an_archive() -> None:
    with pytest.raises(UsageError, match="/ has no name"):
        archive_key("p/", "/", None)


def test_a_file_that_says_it_is_empty_and_is_not_is_named() -> None:
    """As those of /proc do: in the archive it has no content, and nobody must believe that."""
    directory = Path("/proc/sys/kernel/keys")
    if not directory.is_dir():
        pytest.skip("no such files here")
    source = source_of(directory)
    with tarfile.open(fileobj=io.BytesIO(read(source))) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    assert names
    assert sorted(source.changed) == sorted(names)
