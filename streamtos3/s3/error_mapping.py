"""What botocore's exceptions and S3's error codes mean, as errors of our own tree.

One table for the codes, one for botocore's classes. A test fails when botocore grows an
exception that no row covers. The two questions that matter to everybody else are "is it worth
another try?" and "is it absent?" (restic's vocabulary).
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import botocore.exceptions as botocore_errors
import urllib3.exceptions as urllib3_errors

from ..errors import (
    AbsentError,
    ConditionError,
    CredentialsError,
    RefusedError,
    StoreError,
    StreamToS3Error,
    TransientError,
    UnreachableError,
    UnsupportedError,
    UsageError,
)
from .clients import REFUSAL_TEXT

__all__ = ["CLASS_MEANINGS", "translate"]

# botocore's `standard` mode retries few of these, so they are listed here
# (docs/s3-facts.org, Errors).
_TRANSIENT_CODES = frozenset(
    "BandwidthLimitExceeded ConditionalRequestConflict InternalError InternalServerError"
    " KMS.ThrottlingException OperationAborted PriorRequestNotComplete"
    " ProvisionedThroughputExceededException RequestLimitExceeded RequestThrottled"
    " RequestThrottledException RequestTimeTooSkewed RequestTimeout RequestTimeoutException"
    " ServiceUnavailable SlowDown SlowDownRead SlowDownWrite ThrottledException Throttling"
    " ThrottlingException TooManyRequests TooManyRequestsException TransactionInProgressException"
    " XMinioServerNotInitialized XMinioStorageFull".split()
)
_DAMAGED_CODES = frozenset(
    "BadDigest ContentSHA256Mismatch IncompleteBody InvalidDigest XAmzContentChecksumMismatch"
    " XAmzContentSHA256Mismatch".split()
)
_EXPIRED_CODES = frozenset(
    "ExpiredToken ExpiredTokenException RequestExpired TokenRefreshRequired".split()
)
_CREDENTIALS_CODES = frozenset(
    "AuthFailure InvalidAccessKeyId InvalidClientTokenId InvalidSecurity InvalidToken"
    " NotSignedUp SignatureDoesNotMatch UnrecognizedClientException".split()
)
_ABSENT_CODES = frozenset("NoSuchBucket NoSuchKey NoSuchUpload NoSuchVersion".split())
# The service does not have what was asked for, whatever status it says that with.
_UNSUPPORTED_CODES = frozenset(
    "MethodNotAllowed NotImplemented NotSupported OperationNotSupported UnsupportedOperation"
    " XMinioNotImplemented XNotImplemented".split()
)

# Refusals that no waiting changes. S3 itself never says them with a 5xx; but that is what botocore
# makes of an error inside a 200, which is how some imitators refuse (Alluxio).
_FINAL_CODES = _ABSENT_CODES | frozenset(
    "AccessDenied AllAccessDisabled EntityTooLarge EntityTooSmall InvalidArgument"
    " InvalidBucketName InvalidObjectState InvalidPart InvalidPartOrder InvalidRequest"
    " InvalidURI KeyTooLongError MalformedXML PermanentRedirect PreconditionFailed".split()
)

# In mid-stream these may be transient: the answer of a gateway, a proxy or a sign-in page.
_WRITES = ("CreateMultipartUpload", "UploadPart", "PutObject", "CompleteMultipartUpload")
_PASSING_STATUSES = (408, 425, 429)
_PROXY_AUTHENTICATION = 407
_NEVER_SENT = (
    botocore_errors.EndpointConnectionError,
    botocore_errors.ConnectTimeoutError,
    botocore_errors.ProxyConnectionError,
)
# What http.client and urllib3 raise of a request that they cannot write, before anything is sent.
_NEVER_WRITTEN = (
    UnicodeError,
    http.client.InvalidURL,
    urllib3_errors.LocationValueError,
    urllib3_errors.ProxySchemeUnknown,
)

_HINTS = {
    "AccessDenied": "docs/operations.org, IAM policy, lists the permissions that are needed",
    "InvalidAccessKeyId": "the service does not know this access key",
    "SignatureDoesNotMatch": "the secret key is wrong, or a proxy changes the requests",
    "AuthorizationHeaderMalformed": "name the bucket's region by --region",
    "PermanentRedirect": "the bucket is elsewhere: check --region and --endpoint-url",
    "NoSuchBucket": "streamtos3 never creates a bucket; create it, or correct its name",
    "RequestTimeTooSkewed": "this machine's clock differs from the service's; set it right",
    "ExpiredToken": "get new credentials",
    "NoSuchUpload": "the upload was aborted by someone else, or by a lifecycle rule",
}

# OpenSSL, of the first bytes of an answer in plain text.
_PLAIN_HTTP = re.compile(r"wrong.version.number|http.request|record.layer.failure", re.IGNORECASE)
# Go's net/http, nginx and Apache, of a request in plain text on a port for TLS.
_SENT_TO_TLS = re.compile(r"HTTPS (server|port)|SSL-enabled", re.IGNORECASE)

# What each class means; the first match wins. Classes that cannot occur here are not listed.
_CLASSES: tuple[tuple[str, str], ...] = (
    ("SSLError", "tls"),
    ("InvalidIMDSEndpointError", "credentials"),
    ("InvalidIMDSEndpointModeError", "credentials"),
    ("ConnectionError", "connection"),
    ("HTTPClientError", "connection"),
    ("IncompleteReadError", "connection"),
    ("NoCredentialsError", "credentials"),
    ("PartialCredentialsError", "credentials"),
    ("CredentialRetrievalError", "credentials"),
    ("UnknownCredentialError", "credentials"),
    ("NoAuthTokenError", "credentials"),
    ("TokenRetrievalError", "credentials"),
    ("UnknownTokenProviderError", "credentials"),
    ("RefreshWithMFAUnsupportedError", "credentials"),
    ("MetadataRetrievalError", "credentials"),
    ("SSOError", "credentials"),
    ("LoginError", "credentials"),
    ("ProfileNotFound", "credentials"),
    ("InvalidConfigError", "credentials"),
    ("ConfigParseError", "credentials"),
    ("ConfigNotFound", "credentials"),
    ("MissingDependencyException", "credentials"),
    ("ChecksumError", "damaged"),
    ("FlexibleChecksumError", "damaged"),
    ("BaseEndpointResolverError", "usage"),
    ("EndpointProviderError", "usage"),
    ("InvalidRegionError", "usage"),
    ("ParamValidationError", "usage"),
    ("ValidationError", "usage"),
    ("InvalidDNSNameError", "usage"),
    ("InvalidS3AddressingStyleError", "usage"),
    ("UnsupportedS3ArnError", "usage"),
    ("UnsupportedS3ControlArnError", "usage"),
    ("UnsupportedOutpostResourceError", "usage"),
    ("UnsupportedS3ConfigurationError", "usage"),
    ("UnsupportedS3AccesspointConfigurationError", "usage"),
    ("UnsupportedS3ControlConfigurationError", "usage"),
    ("InvalidHostLabelError", "usage"),
    ("InvalidProxiesConfigError", "usage"),
    ("InvalidDefaultsMode", "usage"),
    ("InvalidRetryConfigurationError", "usage"),
    ("InvalidS3UsEast1RegionalEndpointConfigError", "usage"),
    ("InvalidSTSRegionalEndpointsConfigError", "usage"),
    ("InvalidEndpointDiscoveryConfigurationError", "usage"),
    ("InvalidEndpointConfigurationError", "usage"),
    ("InvalidChecksumConfigError", "usage"),
    ("UnknownRegionError", "usage"),
    ("ServiceNotInRegionError", "usage"),
    ("UnknownSignatureVersionError", "usage"),
    ("UnsupportedSignatureVersionError", "usage"),
)
CLASS_MEANINGS: tuple[tuple[type[BaseException], str], ...] = tuple(
    # Rows for classes that an older botocore lacks are left out.
    (getattr(botocore_errors, name), meaning)
    for name, meaning in _CLASSES
    if hasattr(botocore_errors, name)
)


def translate(
    error: Exception,
    what: str,
    *,
    endpoint: str,
    accepted_before: bool,
    proxy: str | None = None,
    flaw: Callable[[], str | None] = lambda: None,
) -> Exception:
    """The error of our own tree for `error`, raised while trying to `what`.

    `accepted_before`: whether this endpoint has accepted a request of ours. Then a rejected
    signature or failing credentials are a passing fault (rotation, a flipped header, a metadata
    service that hiccups), not a reason to abandon a stream that cannot be read twice.
    For messages: `proxy` is what requests go through, and where it was configured; `flaw` looks for
    what is odd about the credentials.
    An error that is a bug of this program is returned unchanged.
    """
    if isinstance(error, botocore_errors.ClientError):
        if _status_of(error.response) == _PROXY_AUTHENTICATION and not accepted_before:
            return _proxy_wants_login(what, proxy)
        if accepted_before and _is_not_s3(error):
            return _from_stranger(error.response, what)
        answered = _from_answer(error.response, what, endpoint, accepted_before)
        if answered.code in _CREDENTIALS_CODES:
            answered.hint = flaw() or answered.hint
        return answered
    if _was_never_written(error):
        return _never_written(error, what, accepted_before, flaw())
    meaning = next((row[1] for row in CLASS_MEANINGS if isinstance(error, row[0])), None)
    reason = _root_reason(error)
    if meaning == "credentials":
        return _credentials(what, reason, accepted_before)
    if meaning == "tls":
        return _tls(error, reason, what, endpoint, accepted_before)
    if meaning == "damaged":
        return TransientError(f"cannot {what}: {reason}", damaged=True)
    if meaning == "usage":
        is_address = reason.startswith("Custom endpoint")
        hint = "write it as https://HOST[:PORT][/PATH]" if is_address else None
        return UsageError(f"cannot {what}: {reason}", hint=hint)
    if isinstance(error, EOFError):  # botocore's prompt read the null device
        return CredentialsError(
            f"cannot {what}: an MFA code is needed, and there is no terminal to ask on",
            hint="run this on a terminal, or use credentials that need no code",
        )
    if isinstance(error, RecursionError):
        message = f"cannot {what}: {endpoint} redirects in a loop"
        hint = "check --endpoint-url and --region"
        kind = TransientError if accepted_before else RefusedError
        return kind(message, hint=hint)
    if isinstance(error, OSError) and meaning is None and not _is_network(error):
        return _before_the_request(reason, what, endpoint)
    if isinstance(error, botocore_errors.ProxyConnectionError):
        return _without_proxy(error, reason, what, proxy)
    # A body that the server cuts off can surface as any of urllib3's errors
    # (docs/s3-facts.org, Answers that do not mean what they say).
    if meaning == "connection" or _is_network(error):
        tls_hint = _speaks_tls(error, endpoint) if not accepted_before else None
        return _without_answer(error, reason, what, endpoint, proxy, tls_hint)
    if isinstance(error, botocore_errors.BotoCoreError):
        return TransientError(f"cannot {what}: {reason}")
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return UsageError(f"cannot {what}: {error}", hint="write it as https://HOST[:PORT][/PATH]")
    return error


def _was_never_written(error: Exception) -> bool:
    """Whether the HTTP library refused to write this request, so that nothing was sent."""
    is_wrapper = type(error) is botocore_errors.HTTPClientError
    inner = vars(error).get("kwargs", {}).get("error") if is_wrapper else None
    if isinstance(inner, _NEVER_WRITTEN):
        return True
    return type(inner) is ValueError and str(inner).startswith("Invalid header")


def _never_written(
    error: Exception, what: str, accepted_before: bool, flaw: str | None
) -> StreamToS3Error:
    """Never quotes: the library's message holds the header, or the proxy's password."""
    inner = vars(error)["kwargs"]["error"]
    if not isinstance(inner, UnicodeEncodeError) and type(inner) is not ValueError:
        return UsageError(
            f"cannot {what}: the address of the endpoint or of the proxy is malformed",
            hint="check --endpoint-url, --region and --proxy, or the variables that set them",
        )
    message = f"cannot {what}: a header holds a line break, or another character it cannot carry"
    hint = "look for it in the credentials, and in what is set for the object"
    if accepted_before:  # the header was good before, so this is what was renewed since
        return TransientError(message, hint=hint, expired=True, sent=False)
    return CredentialsError(f"cannot {what}: {flaw}") if flaw else UsageError(message, hint=hint)


def _proxy_wants_login(what: str, proxy: str | None) -> UnreachableError:
    return UnreachableError(
        f"cannot {what}: {proxy or 'a proxy on the way'} wants a user and a password (HTTP 407)",
        hint="give them in the proxy's address, http://USER:PASSWORD@HOST:PORT",
        http_status=_PROXY_AUTHENTICATION,
    )


def _without_proxy(error: Exception, reason: str, what: str, proxy: str | None) -> StoreError:
    for each in _chain(error):  # how http.client words what the proxy answers to CONNECT
        _, says, answer = str(each).partition("Tunnel connection failed: ")
        if says and not isinstance(each, urllib3_errors.HTTPError):
            if answer.startswith(str(_PROXY_AUTHENTICATION)):
                return _proxy_wants_login(what, proxy)
            reason = f"HTTP {answer}"
    return TransientError(
        f"cannot {what}: no connection through {proxy or 'the proxy'} ({reason})",
        hint="check the proxy; NO_PROXY names hosts that are reached without one",
        sent=False,
        answered=False,
    )


def _before_the_request(reason: str, what: str, endpoint: str) -> TransientError:
    """A credential provider's error: botocore wraps those of its own connections."""
    return TransientError(
        f"cannot {what}: {reason}, before {endpoint} was contacted",
        hint="check where the credentials come from, the network and the proxy settings",
        sent=False,
        answered=False,
    )


def _without_answer(
    error: Exception, reason: str, what: str, endpoint: str, proxy: str | None, hint: str | None
) -> TransientError:
    way = f" through {proxy}" if proxy else ""
    return TransientError(
        f"cannot {what}: no answer from {endpoint}{way} ({reason})",
        hint=hint or "check --endpoint-url, the network and the proxy settings",
        sent=not isinstance(error, _NEVER_SENT),
        answered=False,
    )


def _speaks_tls(error: Exception, endpoint: str) -> str | None:
    """A hint where the port of an http:// address answered, or closed, as TLS does; else None."""
    if not endpoint.startswith("http://"):
        return None
    secure = "https" + endpoint.removeprefix("http")
    for each in _chain(error):
        if isinstance(each, http.client.BadStatusLine) and str(each).startswith("\x15\x03"):
            return f"this port speaks TLS: write {secure}"
        if isinstance(each, ConnectionResetError):
            return (
                "check --endpoint-url, the network and the proxy settings; a port that speaks TLS "
                f"closes like this: then write {secure}"
            )
    return None


def _status_of(response: Mapping[str, Any]) -> int:
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _from_answer(
    response: Mapping[str, Any], what: str, endpoint: str, accepted_before: bool
) -> StoreError:
    error = response.get("Error", {})
    meta = response.get("ResponseMetadata", {})
    status = _status_of(response)
    code = str(error.get("Code") or status or "no code")
    request_id = meta.get("RequestId") or None
    details = [code] if code == str(status) else [code, f"HTTP {status}"]
    if request_id:
        details.append(f"request id {request_id}")
    texts = [str(error[name]) for name in ("Message", REFUSAL_TEXT) if error.get(name)]
    says = ": ".join(texts or ["no message"]).rstrip(".")
    message = f"cannot {what}: {says} ({', '.join(details)})"
    common: dict[str, Any] = {
        "hint": _HINTS.get(code),
        "code": code,
        "http_status": status,
        "request_id": request_id,
    }
    if endpoint.startswith("http://") and status == 400 and _SENT_TO_TLS.search(says):
        secure = "https" + endpoint.removeprefix("http")
        return UnreachableError(
            message, **{**common, "hint": f"this port speaks TLS: write {secure}"}
        )
    if code in _UNSUPPORTED_CODES or status in (405, 501):
        return UnsupportedError(message, **common)
    if code in _DAMAGED_CODES or (code == "SignatureDoesNotMatch" and accepted_before):
        return TransientError(message, damaged=True, **common)
    if code in _CREDENTIALS_CODES or code in _EXPIRED_CODES:
        if accepted_before:  # worth asking the chain of providers for new ones
            return TransientError(message, expired=True, **common)
        return CredentialsError(message, **common)
    if code in _TRANSIENT_CODES or status in _PASSING_STATUSES or status >= 500:
        is_final = code in _FINAL_CODES
        wait_s = _retry_after_s(meta)
        return TransientError(message, refused=is_final, retry_after_s=wait_s, **common)
    if code in _ABSENT_CODES or status == 404:
        return AbsentError(message, **common)
    if status == 412:
        return ConditionError(message, **common)
    if 200 <= status < 300:
        # An older botocore found an error inside an answer that said 200; S3 means it as a 5xx.
        return TransientError(message, refused=code in _FINAL_CODES, **common)
    return RefusedError(message, **common)


def _is_not_s3(error: botocore_errors.ClientError) -> bool:
    """Whether a write was refused without an S3 error code, which S3 itself would have named."""
    status = _status_of(error.response)
    code = error.response.get("Error", {}).get("Code")
    nameless = not code or str(code) == str(status)
    is_refusal = 300 <= status < 500 and status not in (*_PASSING_STATUSES, 412)
    return nameless and error.operation_name in _WRITES and is_refusal


def _from_stranger(response: Mapping[str, Any], what: str) -> TransientError:
    """A proxy's or a sign-in page's, which passes; or the service lacks what it was asked for."""
    status = _status_of(response)
    says = response.get("Error", {}).get(REFUSAL_TEXT)
    hint = "the service does not know this request, or a proxy on the way answers in its place"
    if status == 413:
        hint = "parts are too large for the service, or for a proxy before it: a smaller -c"
    return TransientError(
        f"cannot {what}: HTTP {status} without an S3 error code" + (f": {says}" if says else ""),
        hint=hint,
        http_status=status,
        refused=400 <= status < 500,
    )


def _retry_after_s(meta: Mapping[str, Any]) -> float:
    """What the service asks us to wait, in seconds, at most five minutes."""
    headers = meta.get("HTTPHeaders", {})
    for name, unit_s in (("x-amz-retry-after", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if value.isascii() and value.isdigit():
            return min(float(value) * unit_s, 300.0)
    return 0.0


def _credentials(what: str, reason: str, accepted_before: bool) -> StoreError:
    message = f"cannot {what}: {reason}"
    hint = "give them with --keyfile or --profile, or where boto3 looks for them"
    if accepted_before:
        return TransientError(message, hint=hint, expired=True, sent=False)
    return CredentialsError(message, hint=hint)


def _tls(
    error: Exception, reason: str, what: str, endpoint: str, accepted_before: bool
) -> StoreError:
    message = f"cannot {what}: no secure connection to {endpoint} ({reason})"
    certificate = any(isinstance(each, ssl.SSLCertVerificationError) for each in _chain(error))
    if (certificate or "CERTIFICATE" in str(error).upper()) and not accepted_before:
        return UnreachableError(
            message, hint="--ca-bundle names the certificate of the authority that signed it"
        )
    if _PLAIN_HTTP.search(str(error)) and not accepted_before:
        plain = "http" + endpoint.removeprefix("https")
        return UnreachableError(message, hint=f"this port speaks plain HTTP: write {plain}")
    # A server that answers early and closes shows up as an SSLError over TLS: another try.
    return TransientError(message, answered=False)


def _is_network(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("urllib3", "http", "ssl", "socket")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and everything that led to it, outermost first."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        each = pending.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        kwargs = getattr(each, "kwargs", {})
        inner = kwargs.get("error") if isinstance(kwargs, dict) else None
        pending += [inner, getattr(each, "reason", None), *each.args]
        pending += [getattr(each, "original_error", None)]
        pending += [each.__cause__, each.__context__]


def _root_reason(error: BaseException) -> str:
    """The plainest words in the chain: an errno's text rather than a class name and an address."""
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {each.verify_message}"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror.lower() if each.errno and each.errno > 0 else each.strerror
        if isinstance(each, TimeoutError | botocore_errors.ReadTimeoutError):
            return "timed out"
    if isinstance(error, botocore_errors.ConnectionClosedError):
        return "connection closed"
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")
