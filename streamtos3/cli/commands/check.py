"""`check`: would an upload to this place work, and what would prove it?"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from ...model.object_settings import ObjectSettings
from ...model.options import Options
from ...units import plural
from ..arguments import arguments
from ..console import escaped, print_data, say
from ..options.addresses import prefix_of
from ..options.common import (
    ConnectionArgs,
    OutputArgs,
    RetryArgs,
    argument,
    connection_from,
    connection_options,
    option,
    quiet_options,
    retries_from,
    retry_options,
)
from ..options.destination import DestinationArgs, DestinationCommand, destination_options
from ..running import running

if TYPE_CHECKING:
    from ...uploader.examination import Finding

__all__ = ["CheckArgs", "check"]


@dataclass(frozen=True, eq=False, repr=False)
class CheckArgs:
    """The command line of `check`."""

    place: str | None
    write: bool
    expected_bucket_owner: str | None
    named: DestinationArgs
    connection: ConnectionArgs
    retries: RetryArgs
    output: OutputArgs


@click.command(
    cls=DestinationCommand,
    first="write destination endpoint_url profile keyfile as_json quiet",
)
@argument("place", required=False, metavar="s3://BUCKET/[PREFIX]")
@option("--write", is_flag=True, help="Store a small object, too, read it back, and remove it.")
@option("--json", "as_json", is_flag=True, help="Print one JSON object with all findings.")
@destination_options
@connection_options
@option("--expected-bucket-owner", metavar="ID", help="Refuse a bucket of any other account.")
@retry_options
@quiet_options
@arguments(CheckArgs)
def check(args: CheckArgs) -> None:
    """Say whether an upload below s3://BUCKET/PREFIX would work, and what would prove it.

    Credentials, the way to the service, what is allowed there, and what the bucket is set to: a
    line each that says ok, warning or failed. A multipart upload is begun and aborted; nothing
    stays. Exit status 0 if nothing failed, else that of the worst, as an upload would end.
    """
    bucket, prefix = prefix_of(args.place)
    options = Options(
        connection=connection_from(args.connection),
        retries=retries_from(args.retries),
        settings=ObjectSettings(expected_bucket_owner=args.expected_bucket_owner),
    )
    findings: list[Finding] = []
    with running(args.output, "checked") as run:
        from ...uploader.examination import examine_destination

        for each in examine_destination(bucket, prefix, options, write=args.write, scope=run.scope):
            findings.append(each)
            if not args.output.as_json and not (args.output.quiet and each.verdict == "ok"):
                print_data(f"{_line(each)}\n", "findings")
    status = max(each.exit_status for each in findings)
    if args.output.as_json:
        print_data(_json(f"s3://{bucket}/{prefix}", findings, status), "findings")
    for each in findings:
        if each.left_behind:
            say(f"left behind: {each.left_behind}")
    if not args.output.quiet:
        say(_summary(f"s3://{bucket}/{prefix}", findings))
    click.get_current_context().exit(status)


def _line(finding: Finding) -> str:
    hint = f" ({finding.hint})" if finding.hint else ""
    return escaped(f"{finding.verdict:<7}  {finding.about:<16}  {finding.message}{hint}")


def _json(url: str, findings: list[Finding], status: int) -> str:
    listed = [asdict(each) for each in findings]
    return json.dumps({"url": url, "status": status, "findings": listed}) + "\n"


def _summary(url: str, findings: list[Finding]) -> str:
    verdicts = [each.verdict for each in findings]
    warnings = plural(verdicts.count("warning"), "warning")
    failed = verdicts.count("failed")
    return f"{url}: {verdicts.count('ok')} ok, {warnings}, {failed} failed"
