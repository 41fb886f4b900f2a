"""Options of the commands that store one object, and what they tell the uploader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import UsageError
from ...model.options import Options
from .addresses import BucketArgs, ObjectAddress
from .common import (
    ConnectionArgs,
    DigestArgs,
    OutputArgs,
    PartArgs,
    RetryArgs,
    command_line,
    connection_from,
    connection_options,
    digest_option,
    digests_from,
    option,
    output_options,
    part_options,
    rate_option,
    retries_from,
    retry_options,
    together,
)
from .destination import DestinationArgs
from .object import ObjectArgs, case_from, settings_from
from .types import Choice, size

__all__ = ["StoreArgs", "UploadArgs", "upload_options", "upload_options_from"]

upload_options = together(
    option("-b", "--bucket", metavar="NAME", help="Bucket, where no s3:// destination is given."),
    option("-o", "--obj", metavar="KEY", help="Key, where no s3:// destination is given."),
    option("--no-template", is_flag=True, help="Use the key literally, braces included."),
    part_options,
    option("--expect-size", type=size, help="The input's exact size; any other stores nothing."),
    option("--min-size", type=size, default=0, help="A shorter input stores nothing."),
    option(
        "--size-hint", type=size, help="Approximate size of the input; only guides the part size."
    ),
    option("--expect-sha256", metavar="HEX", help="The input's SHA-256; any other stores nothing."),
    option("--equal-parts", is_flag=True, help="Never let the part size grow."),
    option(
        "--resume",
        is_flag=True,
        help="Resume this key's unfinished upload; keep the parts if this run fails.",
    ),
    option("--overwrite", is_flag=True, help="Replace an object that exists."),
    digest_option,
    option("--tee", is_flag=True, help="Copy what is read to standard output as well."),
    option("--receipt-object", is_flag=True, help="Also store the receipt, as KEY.receipt.json."),
    option(
        "--sign-key",
        metavar="FILE",
        help="Sign the receipt with this OpenSSH key, into FILE.sig and KEY.receipt.json.sig. For a"
        " public key the agent holds the private half.",
    ),
    option("--log", metavar="FILE", help="Append a readable acquisition log to FILE."),
    option(
        "--on-interrupt",
        type=Choice(["abort", "finish"]),
        default="abort",
        show_default=True,
        help="What the first SIGINT or SIGTERM means: store nothing, or read on to the end of"
        " the input and store it all.",
    ),
    connection_options,
    rate_option,
    retry_options,
    option("--json", "as_json", is_flag=True, help="Print the receipt to standard output."),
    option("--receipt", metavar="FILE", help="Write the receipt to FILE once all is proved."),
    output_options,
)


@dataclass(frozen=True, eq=False, repr=False)
class UploadArgs:
    """What is expected of the input, and what happens to it. Sizes are in bytes."""

    expect_size: int | None
    min_size: int
    size_hint: int | None
    expect_sha256: str | None
    equal_parts: bool
    resume: bool
    overwrite: bool
    tee: bool
    receipt: str | None
    receipt_object: bool
    sign_key: str | None
    log: str | None
    on_interrupt: Literal["abort", "finish"]


@dataclass(frozen=True, eq=False, repr=False)
class StoreArgs:
    """Everything that `put` and `run` share."""

    words: tuple[str, ...]
    named: DestinationArgs
    bucket: BucketArgs
    parts: PartArgs
    upload: UploadArgs
    digests: DigestArgs
    object: ObjectArgs
    connection: ConnectionArgs
    retries: RetryArgs
    output: OutputArgs


def upload_options_from(args: StoreArgs, address: ObjectAddress) -> Options:
    """What the command line tells the uploader; UsageError where it contradicts itself."""
    upload = args.upload
    digests = digests_from(args.digests)
    expect_sha256 = (upload.expect_sha256 or "").strip().lower() or None
    if expect_sha256 and (len(expect_sha256) != 64 or set(expect_sha256) - set("0123456789abcdef")):
        raise UsageError(f"{expect_sha256!r} is not a SHA-256: 64 hexadecimal digits")
    if expect_sha256 and "sha256" not in digests:
        digests = (*digests, "sha256")
    return Options(
        connection=connection_from(args.connection),
        chunk_bytes=args.parts.chunksize,
        jobs=args.parts.jobs,
        memory_bytes=args.parts.memory,
        expect_size_bytes=upload.expect_size,
        min_size_bytes=upload.min_size,
        expect_sha256=expect_sha256,
        size_hint_bytes=upload.size_hint,
        equal_parts=upload.equal_parts,
        overwrite=upload.overwrite,
        resume=upload.resume,
        digests=digests,
        verify=args.object.verify,
        checksum=args.object.checksum,
        settings=settings_from(args.object, address.key, args.connection),
        retries=retries_from(args.retries),
        command_line=command_line(),
        key_template=address.template,
        case=case_from(args.object),
    )
