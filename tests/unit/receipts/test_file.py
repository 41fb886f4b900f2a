"""The receipt: its shape as JSON, and a file that is complete or not there."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from streamtos3.errors import ReportError, UsageError
from streamtos3.receipts.file import check_receipt_path, receipt_json, write_receipt
from streamtos3.results import CommandReport, Proof, Receipt, StoredPart
from tests.rig.support import unless_root

STARTED = datetime(2026, 11, 6, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
RECEIPT = Receipt(
    bucket="b",
    key="disk/ü.img",
    endpoint="https://s3.example",
    region="eu-west-1",
    version_id=None,
    size_bytes=3,
    etag_expected="aa-1",
    etag_found="aa-1",
    parts=(StoredPart(1, 0, 3, "md5", "etag", 2),),
    part_plan="8388608/2500/750",
    digests={"sha256": "ff"},
    proof=Proof("md5-etag", "composite-etag"),
    retries=1,
    upload_id="U1",
    token="t",
    started_at=STARTED,
    first_byte_at=STARTED.astimezone(timezone.utc),
    ended_at=STARTED.replace(microsecond=0),
    host="h",
    user="u",
    command_line=("streamtos3", "s3://b/\udcff"),
    program="streamtos3 1",
    libraries={"python": "3.11"},
)


# JSON


def test_every_field_is_in_the_json() -> None:
    shown = json.loads(receipt_json(RECEIPT))
    assert sorted(shown) == sorted(field.name for field in fields(Receipt))
    part_fields = sorted(field.name for field in fields(StoredPart))
    assert [sorted(part) for part in shown["parts"]] == [part_fields]
    assert shown["schema"] == 1
    assert shown["size_bytes"] == 3
    assert shown["proof"] == {"parts": "md5-etag", "object": "composite-etag"}
    assert shown["digests"] == {"sha256": "ff"}
    assert shown["version_id"] is None


def test_times_are_utc_to_the_millisecond() -> None:
    shown = json.loads(receipt_json(RECEIPT))
    times = [shown[name] for name in ("started_at", "first_byte_at", "ended_at")]
    expected = ["2026-11-06T10:00:00.123Z", "2026-11-06T10:00:00.123Z", "2026-11-06T10:00:00.000Z"]
    assert expected == times


def test_an_empty_stream_has_no_first_byte() -> None:
    assert json.loads(receipt_json(replace(RECEIPT, first_byte_at=None)))["first_byte_at"] is None


def test_the_producer_is_reported_where_there_was_one() -> None:
    command = CommandReport(("dd", "if=/dev/sda"), 0, 1.5)
    shown = json.loads(receipt_json(replace(RECEIPT, command=command)))["command"]
    assert shown == {"command": ["dd", "if=/dev/sda"], "exit_status": 0, "run_time_s": 1.5}


def test_it_is_one_line_of_ascii_unless_it_is_to_be_indented() -> None:
    """Names that are no UTF-8 come through, and no reader needs to know an encoding."""
    text = receipt_json(RECEIPT)
    assert "\n" not in text
    assert text.isascii()
    assert json.loads(text)["command_line"][1] == "s3://b/\udcff"
    assert receipt_json(RECEIPT, indent=2).startswith('{\n  "bucket": "b",\n')


def test_a_value_without_a_form_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="has no place in a receipt"):
        receipt_json(replace(RECEIPT, host=object()))  # type: ignore[arg-type]


# The file


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_the_file_holds_the_receipt_and_a_final_newline(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    write_receipt(RECEIPT, str(path))
    assert path.read_text(encoding="ascii") == receipt_json(RECEIPT, indent=2) + "\n"
    assert os.listdir(tmp_path) == ["receipt.json"]


def test_a_name_without_a_directory_is_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_receipt_path("receipt.json")
    write_receipt(RECEIPT, "receipt.json")
    assert os.listdir(tmp_path) == ["receipt.json"]


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_the_umask_decides_who_may_read_it(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "receipt.json"
    with umask(mask):
        write_receipt(RECEIPT, str(path))
        assert os.umask(mask) == mask
    assert mode == stat.S_IMODE(path.stat().st_mode)


def test_it_is_on_the_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    path = tmp_path / "receipt.json"

    def kind_of(fd: int) -> str:
        return "directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"

    def note_fsync(fd: int) -> None:
        names = os.listdir(tmp_path)
        done.append(f"fsync {kind_of(fd)} while {'named' if path.exists() else 'unnamed'}")
        assert len(names) == 1

    monkeypatch.setattr("os.fsync", note_fsync)
    write_receipt(RECEIPT, str(path))
    assert done == ["fsync file while unnamed", "fsync directory while named"]


def test_an_older_receipt_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text("old")
    with path.open() as reader:
        write_receipt(RECEIPT, str(path))
        assert reader.read() == "old"
    assert json.loads(path.read_text())["bucket"] == "b"


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "receipt.json"
    link = tmp_path / "latest.json"
    link.symlink_to(target)
    write_receipt(RECEIPT, str(link))
    assert link.is_symlink()
    assert target.exists()


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["os.fsync", "os.fchmod", "os.rename", "tempfile.mkstemp"])
def test_a_disk_that_fails_leaves_no_file_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "receipt.json"
    path.write_text("old")

    def fail(*_: Any, **__: Any) -> None:
        raise FULL

    monkeypatch.setattr(step, fail)
    with pytest.raises(ReportError) as caught:
        write_receipt(RECEIPT, str(path))
    expected = f"cannot write the receipt to {path}: no space left on device"
    assert expected == caught.value.message
    assert caught.value.exit_status == 11
    assert os.listdir(tmp_path) == ["receipt.json"]
    assert path.read_text() == "old"


def test_a_full_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes nothing; the temporary file that stands for it must go all the same."""
    temporary = tmp_path / ".streamtos3-x"

    def on_a_full_disk(*_: Any, **__: Any) -> tuple[int, str]:
        temporary.touch()
        return os.open("/dev/full", os.O_WRONLY), str(temporary)

    monkeypatch.setattr("tempfile.mkstemp", on_a_full_disk)
    with pytest.raises(ReportError, match="no space left on device"):
        write_receipt(RECEIPT, str(tmp_path / "receipt.json"))
    assert os.listdir(tmp_path) == []


def test_a_receipt_that_has_no_form_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_receipt(replace(RECEIPT, host=object()), str(tmp_path / "r"))  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


def test_a_directory_that_vanished_meanwhile_is_an_error_of_the_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such file or directory"):
        write_receipt(RECEIPT, str(tmp_path / "gone" / "receipt.json"))


# The check before the first byte


def test_a_path_that_can_be_written_passes_and_nothing_is_touched(tmp_path: Path) -> None:
    check_receipt_path(str(tmp_path / "receipt.json"))
    assert os.listdir(tmp_path) == []
    (tmp_path / "old.json").write_text("old")
    check_receipt_path(str(tmp_path / "old.json"))
    assert (tmp_path / "old.json").read_text() == "old"


def test_a_directory_is_no_place_for_a_receipt(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_receipt_path(str(tmp_path))
    assert f"cannot write the receipt to {tmp_path}: it is a directory" == caught.value.message


@pytest.mark.parametrize("name", ["none/receipt.json", "file/receipt.json"])
def test_a_directory_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        check_receipt_path(str(tmp_path / name))
    assert caught.value.message.endswith(f"{(tmp_path / name).parent} is not a directory")


def test_a_device_or_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    """As root a rename would put a plain file in the place of /dev/null."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (str(fifo), "/dev/null", "/dev/full"):
        with pytest.raises(UsageError) as caught:
            check_receipt_path(path)
        expected = f"cannot write the receipt to {path}: it is not a regular file"
        assert expected == caught.value.message


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot write the receipt"):
        check_receipt_path("")


@unless_root
def test_a_directory_that_is_not_ours_is_refused_before_anything_is_stored(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(UsageError, match="is not writable"):
        check_receipt_path(str(tmp_path / "receipt.json"))
    with pytest.raises(ReportError, match="permission denied"):
        write_receipt(RECEIPT, str(tmp_path / "receipt.json"))
    tmp_path.chmod(0o755)
