"""CloudEvents over HTTP become lines of JSON, unchanged in meaning, or are refused with reason."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamtos3.errors import InvalidEventError
from streamtos3.receiver.cloudevents import event_lines

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
EVENT: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "t"}
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": "t"}


def lines(content_type: str | None, body: bytes | str, **headers: str) -> list[bytes]:
    """What a request with these headers becomes; `_` in their names stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        named["content-type"] = content_type
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    raw = body if isinstance(body, bytes) else body.encode()
    return event_lines(encoded, raw, max_record_bytes=1000)


def stored(content_type: str | None, body: bytes | str, **headers: str) -> Any:
    """The one event that a request becomes."""
    (line,) = lines(content_type, body, **headers)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    return json.loads(line)


def refused(content_type: str | None, body: bytes | str, **headers: str) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        lines(content_type, body, **headers)
    assert "\n" not in caught.value.message
    return caught.value


def structured(**attributes: Any) -> str:
    return json.dumps({**EVENT, **attributes})


# Structured mode


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_a_structured_event_is_stored_as_it_was_sent(version: str) -> None:
    sent = {**EVENT, "specversion": version, "time": "2026-11-21T13:11:34.25+01:00", "data": [1]}
    assert stored(STRUCTURED, json.dumps(sent)) == sent


def test_a_time_that_was_not_sent_is_not_invented() -> None:
    assert stored(STRUCTURED, json.dumps(EVENT)) == EVENT


@pytest.mark.parametrize(
    "number", ["1.10", "1E400", "123456789012345678901234567890", "0.1000000000000000055", "-0.0"]
)
def test_numbers_keep_every_digit(number: str) -> None:
    body = json.dumps(EVENT)[:-1] + f', "data": {number}}}'
    assert lines(STRUCTURED, body) == [body.encode() + b"\n"]
    (line,) = lines(STRUCTURED, body.replace(" ", "\n "))
    assert line == body.replace(" ", "").encode() + b"\n"


def test_an_integer_that_python_refuses_to_compute_is_stored_all_the_same() -> None:
    body = json.dumps(EVENT)[:-1] + f', "data": {"9" * 5000}}}'
    headers = [(b"content-type", STRUCTURED.encode())]
    assert event_lines(headers, body.encode(), max_record_bytes=9000) == [body.encode() + b"\n"]


def test_line_breaks_between_the_tokens_go_and_those_in_strings_stay_escaped() -> None:
    sent = {**EVENT, "data": {"text": 'a\nb\r "c" \\ {  }', "more": "\u2028 ä"}}
    (line,) = lines(STRUCTURED, json.dumps(sent, indent=2).replace("\n", "\r\n"))
    assert json.loads(line) == sent
    assert b"\r" not in line and line.count(b"\n") == 1


def test_what_is_twice_in_the_data_is_the_senders_own_affair() -> None:
    body = json.dumps(EVENT)[:-1] + ', "data": {"a": 1, "a": 2}}'
    assert lines(STRUCTURED, body) == [body.encode() + b"\n"]


@pytest.mark.parametrize(
    "content_type",
    [
        "Application/CloudEvents+JSON",
        "application/cloudevents+json; charset=utf-8",
        'application/cloudevents+json ;charset="UTF-8"; x=y',
    ],
)
def test_the_media_type_is_compared_as_http_has_it(content_type: str) -> None:
    assert stored(content_type, json.dumps(EVENT)) == EVENT


def test_a_byte_order_mark_is_dropped() -> None:
    body = b"\xef\xbb\xbf" + json.dumps(EVENT).encode()
    assert lines(STRUCTURED, body) == [body[3:] + b"\n"]


def test_null_means_that_an_attribute_is_not_set() -> None:
    assert stored(STRUCTURED, structured(subject=None, data_base64=None, data=1))["data"] == 1


@pytest.mark.parametrize("value", ["text", True, -(2**31), 2**31 - 1])
def test_an_extension_is_text_a_boolean_or_a_short_integer(value: object) -> None:
    assert stored(STRUCTURED, structured(myext=value))["myext"] == value


@pytest.mark.parametrize(
    "time", ["1990-12-31T23:59:60Z", "2026-01-01t00:00:00.123456789z", "2026-01-01T00:00:00-23:59"]
)
def test_every_time_of_rfc_3339_is_one(time: str) -> None:
    assert stored(STRUCTURED, structured(time=time))["time"] == time


BAD = {
    "no JSON": "{",
    "nothing": "",
    "an array": json.dumps([EVENT]),
    "a string": '"event"',
    "extra data": json.dumps(EVENT) + " {}",
    "NaN": json.dumps(EVENT)[:-1] + ', "data": NaN}',
    "a lone surrogate as id": json.dumps(EVENT).replace('"1"', '"\\ud800"'),
    "an attribute twice": json.dumps(EVENT)[:-1] + ', "id": "2"}',
    "a raw control character": json.dumps(EVENT).replace("/tests", "/te\tsts"),
    "nesting without end": json.dumps(EVENT)[:-1] + ', "data": ' + "[" * 100_000,
    **{f"no {name}": json.dumps({**EVENT, name: None}) for name in EVENT},
    **{f"an empty {name}": structured(**{name: ""}) for name in EVENT},
    **{f"a number as {name}": structured(**{name: 1}) for name in EVENT},
    "specversion 0.2": structured(specversion="0.2"),
    "an empty subject": structured(subject=""),
    "a source with spaces": structured(source="my source"),
    "no media type": structured(datacontenttype="json"),
    "an upper-case name": structured(myExt="x"),
    "a name with a line break": structured(**{"myext\n": "x"}),
    "an empty name": structured(**{"": "x"}),
    "an object as extension": structured(myext={}),
    "a fraction as extension": structured(myext=1.5),
    "a long integer as extension": structured(myext=2**31),
    "both kinds of data": structured(data=1, data_base64="AA=="),
    "data that is not Base64": structured(data_base64="A"),
    "data_base64 that is not text": structured(data_base64=5),
    "data_base64 in 0.3": structured(specversion="0.3", data_base64="AA=="),
    "0.3 data that is not Base64": structured(
        specversion="0.3", datacontentencoding="base64", data="?"
    ),
    "a time without a zone": structured(time="2026-11-21T13:11:34"),
    "a week as time": structured(time="2026-W47"),
    "the 31st of February": structured(time="2026-02-31T00:00:00Z"),
    "a number as time": structured(time=1),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_event_is_refused(body: str) -> None:
    assert refused(STRUCTURED, body).http_status == 400


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    assert refused(STRUCTURED, b'{"id": "\xff"}').http_status == 400


def test_the_reason_names_the_attribute() -> None:
    assert "'id'" in refused(STRUCTURED, structured(id="")).message
    assert "'type' is missing" in refused(STRUCTURED, structured(type=None)).message


@pytest.mark.parametrize(
    "body",
    [
        structured(**{"X" * 900: "x"}),
        structured(specversion="x" * 900),
        json.dumps(EVENT)[:-1] + 2 * f', "{"x" * 900}": 1' + "}",
    ],
)
def test_a_reason_never_grows_with_what_was_sent(body: str) -> None:
    assert len(refused(STRUCTURED, body).message) <= 300


@pytest.mark.parametrize("room", [0, 1])
def test_an_event_that_is_longer_than_a_record_may_be_is_413(room: int) -> None:
    body = structured(data="")
    body = structured(data="x" * (1001 - room - len(body)))
    assert len(body) == 1001 - room
    if room:
        assert len(lines(STRUCTURED, body)) == 1
    else:
        assert refused(STRUCTURED, body).http_status == 413


def test_the_length_counts_what_is_stored_and_not_the_white_space() -> None:
    assert stored(STRUCTURED, json.dumps(EVENT, indent=300)) == EVENT


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), min_size=1)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events=st.lists(
        st.fixed_dictionaries(
            {"id": texts, "type": texts, "data": json_values.filter(lambda x: x is not None)},
            optional={"subject": texts, "ext": texts | st.booleans()},
        )
    ),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_every_event_of_a_batch_survives(
    events: list[dict[str, Any]], indent: int | None, ascii_only: bool
) -> None:
    sent = [{**EVENT, **event} for event in events]
    # What JSON calls Infinity is none; the rest of all floats is.
    body = json.dumps(sent, indent=indent, ensure_ascii=ascii_only).replace("Infinity", "1e999")
    found = event_lines(
        [(b"Content-Type", BATCHED.encode())],
        body.encode("utf-8", "surrogatepass"),
        max_record_bytes=10**6,
    )
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in found)
    assert [json.loads(line) for line in found] == json.loads(body)


# Batched mode


def test_a_batch_is_stored_event_by_event() -> None:
    sent = [{**EVENT, "id": str(number)} for number in range(3)]
    found = lines(BATCHED, json.dumps(sent, indent=1))
    assert [json.loads(line) for line in found] == sent


@pytest.mark.parametrize("body", ["[]", " [ \n ] "])
def test_an_empty_batch_is_valid_and_holds_nothing(body: str) -> None:
    assert lines(BATCHED, body) == []


@pytest.mark.parametrize(
    "body",
    [
        *("", "[", "]", "[]]", "[] []", "{}", "null", "[,]", "[1]"),
        f"[{json.dumps(EVENT)}",
        f"[{json.dumps(EVENT)},]",
        f"[{json.dumps(EVENT)} {json.dumps(EVENT)}]",
        f"[{json.dumps(EVENT)}] x",
    ],
)
def test_what_is_no_array_of_events_is_refused(body: str) -> None:
    assert refused(BATCHED, body).http_status == 400


def test_one_bad_event_refuses_its_batch_and_is_named() -> None:
    sent = [EVENT, {**EVENT, "id": ""}, EVENT]
    assert refused(BATCHED, json.dumps(sent)).message.startswith("event 1: attribute 'id'")


def test_a_long_event_in_a_batch_is_413() -> None:
    error = refused(BATCHED, json.dumps([EVENT, {**EVENT, "data": "x" * 1000}]))
    assert (error.http_status, error.message.partition(":")[0]) == (413, "event 1")


# Binary mode


@pytest.mark.parametrize("version", ["1.0", "0.3"])
def test_a_binary_event_becomes_the_json_format(version: str) -> None:
    headers = {**BINARY, "ce-specversion": version, "ce-time": "2026-11-21T13:11:34Z"}
    event = stored("application/json", '{"a":\n 1.10}', **headers, ce_myext="x")
    assert event == {
        **EVENT,
        "specversion": version,
        "time": "2026-11-21T13:11:34Z",
        "myext": "x",
        "datacontenttype": "application/json",
        "data": {"a": 1.1},
    }


def test_numbers_in_the_body_keep_every_digit() -> None:
    (line,) = lines("application/json", "123456789012345678901234567890.10", **BINARY)
    assert line.endswith(b',"data":123456789012345678901234567890.10}\n')


def test_names_of_headers_have_no_case() -> None:
    upper = {name.upper(): value for name, value in BINARY.items()}
    assert stored(None, "", **upper) == EVENT


def test_an_event_without_a_body_has_no_data() -> None:
    assert stored("application/json", b"", **BINARY) == {
        **EVENT,
        "datacontenttype": "application/json",
    }


@pytest.mark.parametrize("content_type", ["text/plain", "text/csv; charset=utf-8", "image/svg+xml"])
def test_text_becomes_a_string(content_type: str) -> None:
    assert stored(content_type, "grüße\n", **BINARY)["data"] == "grüße\n"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/octet-stream", b"plain"),
        ("text/plain", b"\xff"),
        ("text/plain; charset=latin-1", b"\xe4"),
        (None, b"no json"),
        (None, b"\xff"),
    ],
)
def test_other_bytes_become_base64(content_type: str | None, body: bytes) -> None:
    encoded = base64.b64encode(body).decode()
    event = stored(content_type, body, **BINARY)
    assert (event["data_base64"], "data" in event) == (encoded, False)
    old = stored(content_type, body, **{**BINARY, "ce-specversion": "0.3"})
    assert (old["data"], old["datacontentencoding"]) == (encoded, "base64")
    assert "data_base64" not in old


def test_a_body_without_a_type_is_json_where_it_is() -> None:
    assert stored(None, b'{"a": 1}', **BINARY)["data"] == {"a": 1}


def test_base64_in_a_body_of_0_3_stays_as_it_is() -> None:
    headers = {**BINARY, "ce-specversion": "0.3", "ce-datacontentencoding": "base64"}
    assert stored("image/png", b"AAEC", **headers)["data"] == "AAEC"
    assert refused("image/png", b"?", **headers).http_status == 400


@pytest.mark.parametrize("body", ["{", "NaN", "1 2", b"\xff"])
def test_data_that_is_said_to_be_json_and_is_not_is_refused(body: str | bytes) -> None:
    assert "declared as JSON" in refused("application/vnd.x+json", body, **BINARY).message


@pytest.mark.parametrize(
    ("value", "meant"), [("Euro%20%E2%82%AC", "Euro €"), ('"a \\"b\\""', 'a "b"'), ("100%", "100%")]
)
def test_values_of_headers_are_decoded(value: str, meant: str) -> None:
    assert stored(None, "", **BINARY, ce_subject=value)["subject"] == meant


@pytest.mark.parametrize(
    "header",
    [
        {"ce-subject": "%FF"},
        {"ce-subject": "a%0Ab"},
        {"ce-subject": ""},
        {"ce-data": "x"},
        {"ce-data_base64": "x"},
        {"ce-time": "yesterday"},
        {"ce-datacontenttype": "text/plain"},
        {"ce-id": ""},
        {"ce-specversion": "2.0"},
    ],
)
def test_a_bad_header_is_refused(header: dict[str, str]) -> None:
    named = {**BINARY, **header, "content-type": "text/plain"}
    with pytest.raises(InvalidEventError) as caught:
        encoded = [(name.encode(), value.encode()) for name, value in named.items()]
        event_lines(encoded, b"x", max_record_bytes=1000)
    assert caught.value.http_status == 400


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_event_lacks_no_attribute(name: str) -> None:
    left = {each: value for each, value in BINARY.items() if each != name}
    assert name.removeprefix("ce-") in refused("text/plain", "x", **left).message


def test_a_header_that_comes_twice_is_refused() -> None:
    headers = [(name.encode(), value.encode()) for name, value in BINARY.items()]
    with pytest.raises(InvalidEventError, match="ce-id comes more than once"):
        event_lines([*headers, (b"CE-ID", b"2")], b"", max_record_bytes=1000)


def test_the_content_type_decides_before_the_headers_do() -> None:
    assert stored(STRUCTURED, structured(id="body"), **BINARY)["id"] == "body"


# What is no CloudEvent


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "application/cloudevents+avro", "text/plain"]
)
def test_what_is_no_cloudevent_is_415(content_type: str | None) -> None:
    assert refused(content_type, json.dumps(EVENT)).http_status == 415


def test_a_foreign_format_is_not_taken_for_data() -> None:
    assert refused("application/cloudevents+avro", b"x", **BINARY).http_status == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip"])
def test_an_encoded_body_is_415(encoding: str) -> None:
    error = refused(STRUCTURED, json.dumps(EVENT), content_encoding=encoding)
    assert (error.http_status, encoding in error.message) == (415, True)


def test_another_charset_is_415() -> None:
    body = json.dumps(EVENT).encode("utf-16")
    assert refused(f"{STRUCTURED}; charset=utf-16", body).http_status == 415
