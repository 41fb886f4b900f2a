"""Options of a sink that listens, and the reference sink's configuration as their defaults.

The command line and `STREAMTOS3_` variables win, then a destination's own settings, then the
reference's environment variables, then its files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

import click

from ...errors import UsageError
from ...model.options import Connection
from ...receiver.batcher import ReceiverLimits
from ...receiver.server import Address, TlsFiles, check_exposure, parse_address, read_token
from ..config.vance import VanceSettings, names_a_bucket, read_vance
from ..console import say
from .common import ConnectionArgs, connection_from, option, together
from .sink import RotationArgs, SpoolArgs
from .types import size

__all__ = [
    "ListenArgs",
    "rotation_with",
    "Listening",
    "connection_with",
    "listen_options",
    "listening_from",
    "vance_from",
]

_USUAL_PORT = 8080
_NEEDS_LISTEN = ("token_file", "tls_cert", "tls_key", "insecure_listen", "max_request")


def _given(value: str) -> str:
    """Refuse an empty value: it comes of a variable that is not set, and would mean no token."""
    if not value:
        raise click.BadParameter("it is empty")
    return value


listen_options = together(
    option(
        "--listen",
        type=_given,
        metavar="HOST:PORT",
        help="Receive CloudEvents over HTTP instead of reading standard input. Needs --spool."
        " Without HOST, on loopback; port 0 is any free port.",
    ),
    option(
        "--token-file",
        type=_given,
        metavar="FILE",
        help="Senders must give the bearer token in FILE, which only its owner may read.",
    ),
    option(
        "--tls-cert",
        type=_given,
        metavar="FILE",
        help="Serve HTTPS with this certificate and its chain.",
    ),
    option(
        "--tls-key",
        type=_given,
        metavar="FILE",
        help="The certificate's key, if it is not in the same file.",
    ),
    option(
        "--insecure-listen", is_flag=True, help="Listen beyond loopback without asking for a token."
    ),
    option(
        "--max-request",
        type=size,
        default="8MiB",
        show_default=True,
        help="A larger request is answered with 413.",
    ),
    option(
        "--vance-config",
        type=_given,
        metavar="FILE",
        help="config.json of the Vance S3 sink: listen as it does; no destination is needed.",
    ),
    option(
        "--vance-secret",
        type=_given,
        metavar="FILE",
        help="secret.json of the Vance S3 sink, which only its owner may read.",
    ),
)


@dataclass(frozen=True, eq=False, repr=False)
class ListenArgs:
    """Where to listen and who may send, as the command line says it. Sizes are in bytes."""

    listen: str | None
    token_file: str | None
    tls_cert: str | None
    tls_key: str | None
    insecure_listen: bool
    max_request: int
    vance_config: str | None
    vance_secret: str | None


@dataclass(frozen=True)
class Listening:
    """What `receiver.server.serve` is given."""

    address: Address
    token: str | None = field(repr=False)
    tls: TlsFiles | None
    limits: ReceiverLimits


def vance_from(
    args: ListenArgs, connection: ConnectionArgs, *, has_destination: bool
) -> VanceSettings | None:
    """The reference's configuration, if it is asked for.

    That is by naming one of its files, or by naming no destination while its environment
    variables name a bucket. UsageError if there is no destination then either.
    """
    config, secret = args.vance_config, args.vance_secret
    asked = config or secret
    if not asked and (has_destination or not names_a_bucket(os.environ)):
        return None
    found = read_vance(
        config or None, secret or None, os.environ, allow_insecure=connection.insecure_keyfile
    )
    if found.bucket is None and not has_destination:
        where = config or "the environment"
        raise UsageError(f"no destination: {where} sets no bucketName")
    return found


def rotation_with(args: RotationArgs, vance: VanceSettings | None) -> RotationArgs:
    """`args`, with the values of `vance` for options that are not set."""
    if vance is None:
        return args
    offered = {
        "flush_count": vance.flush_count,
        "flush_interval": vance.flush_interval_s,
        "partition": vance.partition,
    }
    return replace(args, **_unset(offered))


def connection_with(args: ConnectionArgs, vance: VanceSettings | None) -> Connection:
    """The connection, with the region and keys of `vance` unless others are set."""
    if vance is None:
        return connection_from(args)
    connection = connection_from(replace(args, **_unset({"region": vance.region})))
    if connection.keyfile or connection.profile:
        return connection
    return replace(connection, credentials=vance.credentials)


def listening_from(
    args: ListenArgs,
    spool: SpoolArgs,
    vance: VanceSettings | None,
    *,
    max_record_bytes: int,
    allow_insecure: bool,
) -> Listening | None:
    """Where and how to listen; None where records come from standard input.

    The reference always listens: without --listen on loopback, at its `v_port`. UsageError and
    CredentialsError before anything is opened; warns of what is allowed and unwise.
    `allow_insecure`: take a token file that others can read.
    """
    if args.listen is None and vance is None:
        for name in _NEEDS_LISTEN:
            if getattr(args, name) and _is_set(name):
                raise UsageError(f"--{name.replace('_', '-')} goes with --listen")
        return None
    if not spool.spool:
        raise UsageError(
            f"{'--listen' if args.listen else 'the Vance configuration'} needs --spool",
            hint="an event is answered once it is durable, and that is in the spool",
        )
    address = _address(args.listen, vance)
    tls = _tls(args)
    warning = check_exposure(
        address,
        has_token=bool(args.token_file),
        has_tls=tls is not None,
        insecure=args.insecure_listen,
    )
    token = read_token(args.token_file, allow_insecure=allow_insecure) if args.token_file else None
    if warning:
        say(f"warning: {warning}")
    limits = _limits(args.max_request, spool.spool_limit, max_record_bytes)
    return Listening(address, token, tls, limits)


def _unset(offered: dict[str, Any]) -> dict[str, Any]:
    """The values of `offered` whose options are not set."""
    return {
        name: value for name, value in offered.items() if value is not None and not _is_set(name)
    }


def _is_set(name: str) -> bool:
    """Whether this option is set anywhere: not by its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not click.core.ParameterSource.DEFAULT


def _address(given: str | None, vance: VanceSettings | None) -> Address:
    if given is not None:
        return parse_address(given)
    port = vance.port if vance is not None else None
    return parse_address(str(_USUAL_PORT if port is None else port))


def _tls(args: ListenArgs) -> TlsFiles | None:
    if not args.tls_cert:
        if args.tls_key:
            raise UsageError("--tls-key goes with --tls-cert")
        return None
    files = TlsFiles(args.tls_cert, args.tls_key or None)
    files.context()  # what is wrong with them is reported now
    return files


def _limits(request_bytes: int, spool_bytes: int, max_record_bytes: int) -> ReceiverLimits:
    usual = ReceiverLimits()
    if request_bytes < 1:
        raise UsageError("--max-request must be at least one byte")
    # A larger request would be told to retry for ever; its lines may be longer than the request.
    request_bytes = min(request_bytes, spool_bytes)
    return replace(
        usual,
        max_record_bytes=max_record_bytes,
        max_request_bytes=request_bytes,
        max_group_bytes=spool_bytes // 2,
        max_pending_bytes=max(usual.max_pending_bytes, 2 * request_bytes),
    )
