"""The spool: what a crash, or a disk, can do to it, and what of it is found again."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamtos3.errors import SourceError, SpoolError, SpoolFullError, UsageError
from streamtos3.runtime.cancel import CancelScope
from streamtos3.sink.spool import ObjectHeader, Spool, SpoolFile, SpoolSource
from streamtos3.sink.spool_format import Frame

HEADER = ObjectHeader("bucket", "p/events-1.ndjson", "2026-11-21T12:00:00+00:00", None)
GROUPS = [(b"a\nbb\n", 2), (b"ccc\n", 1), (b"d" * 3000 + b"\n", 1)]
LIMIT = 1 << 20


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(str(tmp_path / "spool"), LIMIT)
    yield spool
    spool.close()


def filled(spool: Spool, groups: list[tuple[bytes, int]] = GROUPS) -> SpoolFile:
    file = spool.create(HEADER)
    for data, records in groups:
        file.append(data, records)
    file.end()
    return file


def frames(file: SpoolFile) -> list[tuple[int, int]]:
    """Where each frame of GROUPS begins and ends: 20 bytes of head, then the records."""
    found, offset = [], file.first_frame
    for data, _ in GROUPS:
        found.append((offset, offset + 20 + len(data)))
        offset = found[-1][1]
    assert offset == file.file_bytes
    return found


def content(file: SpoolFile, step_bytes: int = 1000) -> bytes:
    source = SpoolSource(file)
    view = memoryview(bytearray(step_bytes))
    pieces = []
    with CancelScope() as scope:
        source.start()
        while count := source.readinto(view, scope):
            pieces.append(bytes(view[:count]))
        source.finish(scope)
    source.close()
    return b"".join(pieces)


def reopened(spool: Spool) -> Spool:
    """As another process finds it."""
    spool.close()
    spool.__init__(spool.directory, LIMIT)  # type: ignore[misc]  # the fixture closes it
    return spool


@pytest.mark.parametrize("step_bytes", [1, 7, 10_000])
def test_the_records_are_read_as_they_were_written(spool: Spool, step_bytes: int) -> None:
    file = filled(spool)
    assert content(file, step_bytes) == b"".join(data for data, _ in GROUPS)
    assert (file.records, file.payload_bytes) == (4, 3010)
    assert SpoolSource(file).length_bytes == 3010


def test_another_process_finds_them_again_with_the_object_they_belong_to(spool: Spool) -> None:
    filled(spool)
    [found] = reopened(spool).recover()
    assert found.header == HEADER
    assert found.begun_at.isoformat() == HEADER.begun_at
    assert content(found) == b"".join(data for data, _ in GROUPS)
    assert (found.records, found.payload_bytes) == (4, 3010)
    assert spool.size_bytes == os.path.getsize(found.path)


def test_files_are_found_oldest_first(spool: Spool) -> None:
    for hour in (3, 1, 2):
        header = ObjectHeader("b", f"k{hour}", f"2026-11-21T0{hour}:00:00+00:00", None)
        spool.create(header).append(b"x\n", 1)
    assert [file.header.key for file in reopened(spool).recover()] == ["k1", "k2", "k3"]


def test_only_the_owner_can_read_it(spool: Spool) -> None:
    file = filled(spool)
    assert stat.S_IMODE(os.stat(spool.directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o600


def test_a_crash_at_any_byte_loses_only_what_was_not_acknowledged(spool: Spool) -> None:
    """`append` returns after the sync: a cut inside a frame is a cut before its return."""
    file = filled(spool)
    whole = Path(file.path).read_bytes()
    ends = [end for _, end in frames(file)]
    for cut in range(file.first_frame, len(whole), 7):
        Path(file.path).write_bytes(whole[:cut])
        kept = [data for (data, _), end in zip(GROUPS, ends, strict=True) if end <= cut]
        whole_bytes = ends[len(kept) - 1] if kept else file.first_frame
        said: list[str] = []
        found = reopened(spool).recover(said.append)
        assert [content(each) for each in found] == ([b"".join(kept)] if kept else []), cut
        if kept:
            assert os.path.getsize(found[0].path) == whole_bytes
        else:
            assert not os.path.exists(file.path)
        torn = Path(file.path + ".torn")
        if cut > whole_bytes:
            assert torn.read_bytes() == whole[whole_bytes:cut]
            [line] = said
            assert f"the last {cut - whole_bytes:,} bytes of {file.path}" in line
            assert str(torn) in line
            torn.unlink()
        else:
            assert (said, torn.exists()) == ([], False)


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_file_that_was_cut_inside_its_header_is_damage(spool: Spool, cut: int) -> None:
    """A file has its name only once its header is on the disk, so no crash explains it."""
    file = filled(spool)
    whole = Path(file.path).read_bytes()
    Path(file.path).write_bytes(whole[: cut if cut >= 0 else file.first_frame + cut])
    with pytest.raises(SpoolError, match=re.escape(file.path)) as caught:
        reopened(spool).recover()
    assert caught.value.exit_status == 7
    assert os.path.exists(file.path)


@pytest.mark.parametrize("count", [1, 5000])
def test_zeros_where_the_last_frame_should_be_are_torn(spool: Spool, count: int) -> None:
    """What some file systems leave after a power loss: the length is there, the data is not."""
    file = filled(spool)
    with open(file.path, "ab") as stream:
        stream.write(bytes(count))
    said: list[str] = []
    [found] = reopened(spool).recover(said.append)
    assert content(found) == b"".join(data for data, _ in GROUPS)
    assert len(said) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(st.data())
def test_a_damaged_byte_is_an_error_wherever_it_is(spool: Spool, data: st.DataObject) -> None:
    """In the header too, and in the last frame: it is there in its whole length."""
    for name in os.listdir(spool.directory):
        os.unlink(os.path.join(spool.directory, name))
    file = filled(reopened(spool))
    whole = bytearray(Path(file.path).read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    Path(file.path).write_bytes(whole)
    with pytest.raises(SpoolError) as caught:
        reopened(spool).recover()
    assert file.path in caught.value.message
    assert Path(file.path).read_bytes() == whole
    assert sorted(os.listdir(spool.directory)) == sorted(["lock", os.path.basename(file.path)])


def test_the_last_two_frames_damaged_are_an_error(spool: Spool) -> None:
    file = filled(spool)
    whole = bytearray(Path(file.path).read_bytes())
    for start, _ in frames(file)[-2:]:
        whole[start + 21] ^= 1
    Path(file.path).write_bytes(whole)
    with pytest.raises(SpoolError, match=f"damaged at byte {frames(file)[-2][0]}"):
        reopened(spool).recover()


def test_everything_is_checked_before_anything_is_changed(spool: Spool) -> None:
    """The first file is torn, the second holds nothing, the third is damaged."""
    torn, empty, damaged = (filled(spool, groups) for groups in (GROUPS, [], GROUPS))
    os.truncate(torn.path, torn.file_bytes - 1)
    with open(damaged.path, "r+b") as stream:
        stream.seek(damaged.file_bytes - 1)
        stream.write(b"!")
    before = {path.name: path.read_bytes() for path in Path(spool.directory).iterdir()}
    with pytest.raises(SpoolError, match=re.escape(damaged.path)):
        reopened(spool).recover()
    assert {path.name: path.read_bytes() for path in Path(spool.directory).iterdir()} == before
    os.unlink(damaged.path)
    assert [content(each) for each in reopened(spool).recover()] == [b"a\nbb\nccc\n"]
    assert not os.path.exists(empty.path)


def test_a_torn_frame_that_holds_a_whole_one_does_not_block_the_start(spool: Spool) -> None:
    """Records may be anything, a piece of another spool file too."""
    frame = Frame(0, 2, 1, zlib.crc32(b"x\n"))
    file = filled(spool, [(b"a\n", 1), (frame.head + b"x\n" + b"more\n", 1)])
    os.truncate(file.path, file.file_bytes - 3)
    said: list[str] = []
    [found] = reopened(spool).recover(said.append)
    assert content(found) == b"a\n"
    assert len(said) == 1


def test_what_is_torn_is_never_written_over_what_was_kept_before(spool: Spool) -> None:
    file = filled(spool)
    os.truncate(file.path, file.file_bytes - 1)
    kept = Path(file.path + ".torn")
    kept.write_bytes(b"of an earlier crash")
    said: list[str] = []
    reopened(spool).recover(said.append)
    assert kept.read_bytes() == b"of an earlier crash"
    assert f"{kept}.2" in said[0]
    assert os.path.getsize(f"{kept}.2") == file.file_bytes - 1 - frames(file)[-1][0]


def test_what_is_torn_waits_in_its_file_where_the_disk_is_full(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or nothing could be uploaded, and so nothing would ever make room."""
    file = filled(spool)
    os.truncate(file.path, file.file_bytes - 1)
    before = Path(file.path).read_bytes()
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing_after(0, errno.ENOSPC, None))
        [found] = reopened(spool).recover(said.append)
    assert content(found) == b"a\nbb\nccc\n"
    spool.remove(found)
    assert Path(file.path + ".torn").read_bytes() == before
    assert set(os.listdir(spool.directory)) == {"lock", os.path.basename(file.path) + ".torn"}


def test_what_a_crash_left_of_a_file_that_had_no_name_yet_is_removed(spool: Spool) -> None:
    ours = Path(spool.directory, "20261121T120000.000000-0123456789abcdef.new")
    theirs = Path(spool.directory, "notes.new")
    for path in (ours, theirs):
        path.write_bytes(b"{")
    assert reopened(spool).recover() == []
    assert (ours.exists(), theirs.exists()) == (False, True)


def test_a_fifo_a_link_and_a_directory_are_not_spool_files_and_stay(spool: Spool) -> None:
    path = Path(spool.directory, "x.spool")
    outside = Path(spool.directory).parent / "outside"
    outside.write_bytes(filled(spool).header.line)
    os.unlink(next(Path(spool.directory).glob("2*.spool")))
    for make in (os.mkfifo, os.mkdir, lambda each: os.symlink(outside, each)):
        make(path)
        with pytest.raises(SpoolError, match=r"x\.spool") as caught:
            reopened(spool).recover()
        assert caught.value.exit_status == 7
        assert os.path.lexists(path)
        path.rmdir() if path.is_dir() else path.unlink()
    assert outside.exists()


def test_a_file_that_took_the_name_of_a_stored_one_is_not_removed(spool: Spool) -> None:
    file = filled(spool)
    os.rename(file.path, file.path + ".away")
    Path(file.path).write_bytes(b"somebody's")
    with pytest.raises(SpoolError, match="another file has its name"):
        spool.remove(file)
    assert Path(file.path).read_bytes() == b"somebody's"


def test_a_file_of_format_1_is_still_read(spool: Spool) -> None:
    """Its header has no checksum, and says nothing of the object's settings."""
    said = {
        "format": 1,
        "bucket": "bucket",
        "key": "k",
        "begun_at": HEADER.begun_at,
        "compress": None,
    }
    frame = Frame(0, 2, 1, zlib.crc32(b"x\n"))
    Path(spool.directory, "20261121T120000.000000-0123456789abcdef.spool").write_bytes(
        json.dumps(said).encode() + b"\n" + frame.head + b"x\n"
    )
    [found] = spool.recover()
    assert (found.header.key, found.header.begun_with, content(found)) == ("k", None, b"x\n")


def test_what_was_appended_since_a_mark_can_be_taken_back(spool: Spool) -> None:
    file = spool.create(HEADER)
    file.append(b"kept\n", 1)
    mark = file.mark
    file.append(b"taken back\n", 1)
    file.take_back(mark)
    assert (file.records, file.payload_bytes, file.mark) == (1, 5, mark)
    file.append(b"also kept\n", 1)
    assert content(file) == b"kept\nalso kept\n"
    [found] = reopened(spool).recover()
    assert content(found) == b"kept\nalso kept\n"


@pytest.mark.parametrize("call", ["posix_fallocate", "open"])
def test_whether_the_disk_has_room_is_tried(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    assert spool.has_disk_for(1000)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing_after(0, errno.ENOSPC, None))
        assert not spool.has_disk_for(1000)
    assert os.listdir(spool.directory) == ["lock"]


def test_damage_after_it_was_read_is_seen_while_it_is_uploaded(spool: Spool) -> None:
    file = filled(spool)
    with open(file.path, "r+b") as stream:
        stream.seek(frames(file)[1][1] - 1)
        stream.write(b"!")
    with pytest.raises(SourceError, match=f"is damaged at byte {frames(file)[1][0]}"):
        content(file)


def test_a_file_that_was_cut_short_meanwhile_is_no_shorter_object(spool: Spool) -> None:
    file = filled(spool)
    os.truncate(file.path, frames(file)[2][0])
    with pytest.raises(SourceError, match="damaged"):
        content(file)


@pytest.mark.parametrize(
    "line",
    [
        *(b"{}\n", b'{"format": 2}\n', b"[]\n", b"nonsense\n", b"notes without an end", b"\n"),
        b'{"format": 3, "bucket": "b"}\n',
        b'{"format": 1, "bucket": 5, "key": "k", "begun_at": "2026-01-01T00:00:00+00:00",'
        b' "compress": null}\n',
        b'{"format": 1, "bucket": "b", "key": "k", "begun_at": "yesterday", "compress": null}\n',
        b"[" * 50_000 + b"\n",
        b"x" * 70_000 + b"\n",
    ],
)
def test_a_first_line_that_says_nothing_is_not_thrown_away(spool: Spool, line: bytes) -> None:
    Path(spool.directory, "x.spool").write_bytes(line)
    with pytest.raises(SpoolError, match="x.spool"):
        spool.recover()
    assert Path(spool.directory, "x.spool").read_bytes() == line


def test_a_spool_that_is_no_directory_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot use the spool"):
        Spool(str(tmp_path / "file"), LIMIT)


def test_the_limit_counts_all_that_is_there(spool: Spool) -> None:
    file = spool.create(HEADER)
    before = spool.room_bytes()
    file.append(bytes(LIMIT // 2), 1)
    assert spool.room_bytes() == before - LIMIT // 2 - 20
    assert spool.size_bytes == file.file_bytes == os.path.getsize(file.path)
    spool.end(file)
    assert spool.size_bytes == file.file_bytes
    spool.remove(file)
    assert spool.size_bytes == 0
    assert os.listdir(spool.directory) == ["lock"]
    assert 0 < spool.room_bytes(1) - spool.room_bytes(3) < 2000


def failing_after(calls: int, code: int, real: object) -> object:
    left = [calls]

    def fail(*arguments: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(code, os.strerror(code))
        return real(*arguments)  # type: ignore[operator]

    return fail


@pytest.mark.parametrize("call", ["write", "fdatasync"])
@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, SpoolFullError), (errno.EIO, SpoolError)]
)
def test_a_failed_append_leaves_the_file_as_it_was(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type[SpoolError]
) -> None:
    """Or the next append would come after half a frame, and be lost with it."""
    file = spool.create(HEADER)
    file.append(b"kept\n", 1)
    real_write = os.write
    with monkeypatch.context() as patch:
        if call == "write":
            half = lambda fd, data: real_write(fd, bytes(data)[: len(data) // 2])  # noqa: E731
            calls = [half, failing_after(0, code, None)]
            patch.setattr(os, "write", lambda fd, data: calls.pop(0)(fd, data))  # type: ignore[operator]
        else:
            patch.setattr(os, call, failing_after(0, code, None))
        with pytest.raises(kind, match=os.strerror(code).lower()):
            file.append(b"lost\n", 1)
    file.append(b"also kept\n", 1)
    assert content(file) == b"kept\nalso kept\n"
    [found] = reopened(spool).recover()
    assert content(found) == b"kept\nalso kept\n"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_file_that_could_not_be_begun_is_not_there(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing_after(0, errno.EIO, None))
        with pytest.raises(SpoolError, match="cannot begin"):
            spool.create(HEADER)
    assert os.listdir(spool.directory) == ["lock"]


def test_each_append_is_synced_before_it_returns(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def sync(fd: int) -> None:
        real(fd)
        synced.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fdatasync", sync)
    file = spool.create(HEADER)
    for data, records in GROUPS:
        file.append(data, records)
        assert synced[-1] == file.file_bytes == os.path.getsize(file.path)
    assert len(synced) == len(GROUPS)


def test_a_disk_that_cannot_even_cut_off_half_a_frame_is_not_just_full(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next frame would be written behind it, and nobody would ever find it."""
    file = spool.create(HEADER)
    monkeypatch.setattr(os, "fdatasync", failing_after(0, errno.ENOSPC, None))
    monkeypatch.setattr(os, "ftruncate", failing_after(0, errno.EIO, None))
    with pytest.raises(SpoolError) as caught:
        file.append(b"lost\n", 1)
    assert not isinstance(caught.value, SpoolFullError)


def test_the_spool_itself_survives_a_power_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def sync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    spool = Spool(str(tmp_path / "spool"), LIMIT)
    assert synced == [str(tmp_path)]
    file = spool.create(HEADER)
    assert [name.replace(".new", ".spool") for name in synced[1:]] == [file.path, spool.directory]
    spool.close()
