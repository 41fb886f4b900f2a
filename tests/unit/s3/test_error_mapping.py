"""What each of S3's codes and botocore's exceptions means, and that none is without a meaning."""

from __future__ import annotations

import http.client
import inspect
import ssl
from typing import Any

import botocore.exceptions
import pytest
import urllib3.exceptions
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
    WaiterError,
)

from streamtos3.errors import (
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
from streamtos3.s3.error_mapping import CLASS_MEANINGS, translate

WHAT = "store part 7 of s3://b/k"
ENDPOINT = "https://s3.example"


def meaning_of(error: Exception, *, accepted_before: bool = False) -> Exception:
    return translate(error, WHAT, endpoint=ENDPOINT, accepted_before=accepted_before)


def answer(
    code: str | None, status: int, headers: dict[str, str] | None = None, **error: Any
) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "It Went Wrong.", **error},
        "ResponseMetadata": {
            "HTTPStatusCode": status,
            "RequestId": "REQ1",
            "HTTPHeaders": headers or {},
        },
    }
    return ClientError(response, "UploadPart")


def transient(error: Exception) -> TransientError:
    assert isinstance(error, TransientError)
    return error


# S3's codes

CODES: list[tuple[str, int, type[StoreError]]] = [
    # Worth another try
    ("InternalError", 500, TransientError),
    ("ServiceUnavailable", 503, TransientError),
    ("SlowDown", 503, TransientError),
    ("RequestTimeout", 400, TransientError),
    ("ThrottlingException", 400, TransientError),
    ("KMS.ThrottlingException", 400, TransientError),
    ("RequestTimeTooSkewed", 403, TransientError),
    ("OperationAborted", 409, TransientError),
    ("ConditionalRequestConflict", 409, TransientError),
    ("XMinioStorageFull", 507, TransientError),
    ("TooManyRequests", 429, TransientError),
    ("SomethingNew", 500, TransientError),
    ("SomethingNew", 502, TransientError),
    ("SomethingNew", 504, TransientError),
    ("SomethingNew", 408, TransientError),
    ("SomethingNew", 429, TransientError),
    ("InternalError", 200, TransientError),
    ("AccessDenied", 200, TransientError),
    # Absent
    ("NoSuchBucket", 404, AbsentError),
    ("NoSuchKey", 404, AbsentError),
    ("NoSuchUpload", 404, AbsentError),
    ("NoSuchVersion", 404, AbsentError),
    ("404", 404, AbsentError),
    ("NotFound", 404, AbsentError),
    # A condition that was not met
    ("PreconditionFailed", 412, ConditionError),
    ("412", 412, ConditionError),
    # Credentials
    ("InvalidAccessKeyId", 403, CredentialsError),
    ("SignatureDoesNotMatch", 403, CredentialsError),
    ("InvalidToken", 400, CredentialsError),
    ("ExpiredToken", 400, CredentialsError),
    ("TokenRefreshRequired", 400, CredentialsError),
    # Refused for good
    ("AccessDenied", 403, RefusedError),
    ("403", 403, RefusedError),
    ("AllAccessDisabled", 403, RefusedError),
    ("InvalidRequest", 400, RefusedError),
    ("InvalidPart", 400, RefusedError),
    ("InvalidPartOrder", 400, RefusedError),
    ("EntityTooSmall", 400, RefusedError),
    ("EntityTooLarge", 400, RefusedError),
    ("KeyTooLongError", 400, RefusedError),
    ("MalformedXML", 400, RefusedError),
    ("NotImplemented", 501, UnsupportedError),
    ("NotImplemented", 500, UnsupportedError),
    ("SomethingNew", 501, UnsupportedError),
    ("405", 405, UnsupportedError),
    ("PermanentRedirect", 301, RefusedError),
    ("AuthorizationHeaderMalformed", 400, RefusedError),
    ("InvalidRange", 416, RefusedError),
]


@pytest.mark.parametrize("code, status, expected", CODES)
def test_what_a_code_means(code: str, status: int, expected: type[StoreError]) -> None:
    error = meaning_of(answer(code, status))
    assert expected is type(error)
    assert isinstance(error, StoreError)
    assert (code, status, "REQ1") == (error.code, error.http_status, error.request_id)


@pytest.mark.parametrize(
    "code, status",
    [
        ("BadDigest", 400),
        ("IncompleteBody", 400),
        ("InvalidDigest", 400),
        ("XAmzContentSHA256Mismatch", 400),
        ("XAmzContentChecksumMismatch", 400),
    ],
)
def test_bytes_that_were_damaged_on_their_way_are_sent_again(code: str, status: int) -> None:
    """botocore's `standard` mode retries none of these."""
    assert transient(meaning_of(answer(code, status))).damaged


@pytest.mark.parametrize("code", ["ExpiredToken", "TokenRefreshRequired", "RequestExpired"])
def test_a_token_that_expires_in_mid_stream_is_renewed(code: str) -> None:
    assert transient(meaning_of(answer(code, 400), accepted_before=True)).expired


def test_a_signature_that_was_accepted_before_was_damaged_on_its_way() -> None:
    error = meaning_of(answer("SignatureDoesNotMatch", 403), accepted_before=True)
    assert transient(error).damaged


def test_the_message_says_what_was_attempted_and_what_the_service_said() -> None:
    error = meaning_of(answer("AccessDenied", 403))
    assert isinstance(error, RefusedError)
    expected = f"cannot {WHAT}: It Went Wrong (AccessDenied, HTTP 403, request id REQ1)"
    assert expected == error.message
    assert "docs/operations.org, IAM policy" in str(error.hint)


@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        ("AuthorizationHeaderMalformed", 400, "--region"),
        ("PermanentRedirect", 301, "--region and --endpoint-url"),
        ("SignatureDoesNotMatch", 403, "the secret key is wrong"),
    ],
)
def test_the_hint_names_the_next_step(code: str, status: int, hint: str) -> None:
    error = meaning_of(answer(code, status))
    assert isinstance(error, StoreError)
    assert hint in (error.hint or "")


@pytest.mark.parametrize("code", [None, "", "503"])
def test_an_answer_without_a_code_shows_its_status_once(code: str | None) -> None:
    error = meaning_of(answer(code, 503, Message=None))
    expected = f"cannot {WHAT}: no message (503, request id REQ1)"
    assert expected == transient(error).message


def test_an_answer_without_anything_is_an_answer_all_the_same() -> None:
    error = meaning_of(ClientError({}, "UploadPart"))
    assert type(error) is RefusedError
    assert error.message == f"cannot {WHAT}: no message (no code, HTTP 0)"


@pytest.mark.parametrize(
    "headers, expected_s",
    [
        ({}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"x-amz-retry-after": "1500"}, 1.5),
        ({"x-amz-retry-after": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "86400"}, 300.0),
        ({"retry-after": "9" * 5000}, 300.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "²"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
    ],
)
def test_what_the_service_asks_us_to_wait_is_heeded_up_to_five_minutes(
    headers: dict[str, str], expected_s: float
) -> None:
    error = transient(meaning_of(answer("SlowDown", 503, headers)))
    assert expected_s == error.retry_after_s


# botocore's classes

# These cannot leave a request of ours: programming mistakes that a test would meet, helpers that
# are not used (waiters, stubs, event streams, the service catalogue), and abstract classes.
CANNOT_REACH_US = frozenset(
    "ApiVersionNotFoundError AwsChunkedWrapperError BotoCoreError CapacityNotAvailableError"
    " DataNotFoundError EventStreamError ImminentRemovalWarning InvalidExpressionError"
    " MD5UnavailableError MissingParametersError MissingServiceIdError OperationNotPageableError"
    " PaginationError StubAssertionError StubResponseError UnStubbedResponseError"
    " UndefinedModelAttributeError UnknownClientMethodError UnknownServiceError"
    " UnknownServiceStyle UnseekableStreamError UnsupportedServiceProtocolsError"
    " UnsupportedTLSVersionWarning WaiterConfigError WaiterError".split()
)


def classes_of_botocore() -> dict[str, type[BaseException]]:
    return {
        name: each
        for name, each in vars(botocore.exceptions).items()
        if inspect.isclass(each) and issubclass(each, BaseException)
    }


def test_every_exception_of_botocore_has_a_meaning() -> None:
    """When this fails after an upgrade, give the new class a row or a place in the list above."""
    rows: tuple[type[BaseException], ...] = (ClientError, *(row[0] for row in CLASS_MEANINGS))
    without = {name for name, each in classes_of_botocore().items() if not issubclass(each, rows)}
    assert without - CANNOT_REACH_US == set()


def test_nothing_both_has_a_meaning_and_cannot_reach_us() -> None:
    rows = tuple(row[0] for row in CLASS_MEANINGS)
    known = classes_of_botocore()
    both = {name for name in CANNOT_REACH_US if name in known and issubclass(known[name], rows)}
    assert both == set()


def test_the_meanings_are_those_that_the_border_knows() -> None:
    known = {"connection", "credentials", "damaged", "tls", "usage"}
    assert known == {meaning for _, meaning in CLASS_MEANINGS}


def test_no_row_hides_behind_an_earlier_one_that_means_something_else() -> None:
    for index, (later, meaning) in enumerate(CLASS_MEANINGS):
        before = [row for row in CLASS_MEANINGS[:index] if issubclass(later, row[0])]
        assert all(row[1] == meaning for row in before), later.__name__


def bare(kind: type[BaseException]) -> Exception:
    """An instance, whatever its constructor asks for."""
    error = kind.__new__(kind, "the words of botocore")
    assert isinstance(error, Exception)
    return error


RESULTS: dict[str, tuple[type[StreamToS3Error], type[StreamToS3Error]]] = {
    # meaning: before, and after the endpoint accepted a request
    "connection": (TransientError, TransientError),
    "credentials": (CredentialsError, TransientError),
    "damaged": (TransientError, TransientError),
    "tls": (TransientError, TransientError),
    "usage": (UsageError, UsageError),
}


@pytest.mark.parametrize(
    "kind, meaning", CLASS_MEANINGS, ids=[row[0].__name__ for row in CLASS_MEANINGS]
)
def test_what_each_class_means(kind: type[BaseException], meaning: str) -> None:
    expected = RESULTS[meaning]
    found = tuple(type(meaning_of(bare(kind), accepted_before=flag)) for flag in (False, True))
    assert expected == found


def test_a_class_that_should_not_reach_us_is_tried_again_and_not_taken_for_a_success() -> None:
    error = meaning_of(WaiterError(name="x", reason="y", last_response={}))
    assert isinstance(error, TransientError)
    assert isinstance(meaning_of(BotoCoreError()), TransientError)


def test_failing_credentials_are_named_with_the_ways_to_give_them() -> None:
    error = meaning_of(NoCredentialsError())
    assert isinstance(error, CredentialsError)
    assert error.message == f"cannot {WHAT}: Unable to locate credentials"
    assert "--keyfile" in str(error.hint)


def test_an_unknown_profile_is_a_matter_of_credentials() -> None:
    error = meaning_of(ProfileNotFound(profile="nobody"))
    assert isinstance(error, CredentialsError)
    assert "nobody" in error.message


def test_a_metadata_service_that_hiccups_in_mid_stream_is_asked_again() -> None:
    error = CredentialRetrievalError(provider="iam-role", error_msg="timed out")
    assert transient(meaning_of(error, accepted_before=True)).expired


def test_a_parameter_that_botocore_refuses_is_a_usage_mistake() -> None:
    error = meaning_of(ParamValidationError(report='Invalid bucket name "x y"'))
    assert isinstance(error, UsageError)
    assert 'Invalid bucket name "x y"' in error.message


def test_an_endpoint_that_is_no_url_is_a_usage_mistake() -> None:
    assert isinstance(meaning_of(ValueError("Invalid endpoint: x y")), UsageError)


# Connections

UNREACHED: list[Exception] = [
    EndpointConnectionError(endpoint_url=ENDPOINT, error=ConnectionRefusedError(111, "refused")),
    ReadTimeoutError(endpoint_url=ENDPOINT),
    ResponseStreamingError(error=urllib3.exceptions.ProtocolError("cut")),
    urllib3.exceptions.ProtocolError("Connection aborted."),
    http.client.IncompleteRead(b""),
    http.client.BadStatusLine("garbage"),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    TimeoutError("timed out"),
    OSError(113, "No route to host"),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
]


@pytest.mark.parametrize("error", UNREACHED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("accepted_before", [False, True])
def test_a_broken_connection_is_tried_again_and_counts_as_no_answer(
    error: Exception, accepted_before: bool
) -> None:
    found = transient(meaning_of(error, accepted_before=accepted_before))
    assert not found.answered
    assert not found.damaged
    assert ENDPOINT in found.message


def test_the_plainest_words_of_a_long_chain_are_shown() -> None:
    inner = ConnectionRefusedError(111, "Connection refused")
    middle = urllib3.exceptions.NewConnectionError(None, "Failed to establish")  # type: ignore[arg-type]
    middle.__cause__ = inner
    error = EndpointConnectionError(endpoint_url=ENDPOINT, error=middle)
    expected = f"cannot {WHAT}: no answer from {ENDPOINT} (connection refused)"
    assert expected == transient(meaning_of(error)).message


def test_a_chain_that_bites_its_own_tail_is_followed_once() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    error = EndpointConnectionError(endpoint_url=ENDPOINT, error=first)
    assert "no answer" in transient(meaning_of(error)).message


def test_redirects_in_a_circle_are_refused() -> None:
    """botocore follows a 307 to nowhere until Python's stack ends."""
    error = meaning_of(RecursionError("maximum recursion depth exceeded"))
    assert isinstance(error, RefusedError)
    assert error.message == f"cannot {WHAT}: {ENDPOINT} redirects in a loop"


@pytest.mark.parametrize("error", [TypeError("a bug"), KeyError("ContentLength")])
def test_our_own_mistakes_come_back_unchanged(error: Exception) -> None:
    assert meaning_of(error) is error


# Certificates


def certificate_error() -> SSLError:
    inner = ssl.SSLCertVerificationError(1, "certificate verify failed")
    inner.verify_message = "self-signed certificate"
    middle = urllib3.exceptions.SSLError(inner)
    return SSLError(endpoint_url=ENDPOINT, error=middle)


def test_a_certificate_that_does_not_verify_is_said_at_once() -> None:
    error = meaning_of(certificate_error())
    assert isinstance(error, UnreachableError)
    assert error.message == (
        f"cannot {WHAT}: no secure connection to {ENDPOINT} "
        "(certificate not accepted: self-signed certificate)"
    )
    assert "--ca-bundle" in str(error.hint)


def test_a_certificate_that_was_accepted_before_is_tried_again() -> None:
    assert not transient(meaning_of(certificate_error(), accepted_before=True)).answered


def test_a_server_that_closes_early_over_tls_is_tried_again() -> None:
    error = SSLError(endpoint_url=ENDPOINT, error=ssl.SSLEOFError(8, "EOF occurred"))
    assert not transient(meaning_of(error)).answered
