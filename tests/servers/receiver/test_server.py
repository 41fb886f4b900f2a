"""Events over HTTP: what is answered when, who may send, what is bounded, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from streamtos3.errors import (
    CredentialsError,
    Interrupted,
    SpoolError,
    SpoolFullError,
    UsageError,
)
from streamtos3.receiver.batcher import ReceiverLimits
from streamtos3.receiver.server import (
    Address,
    TlsFiles,
    bind,
    check_exposure,
    parse_address,
    read_token,
    serve,
)
from streamtos3.runtime.cancel import Cancelled, CancelScope
from tests.rig.receiver_rig import (
    BATCHED,
    STRUCTURED,
    WAIT_S,
    Listening,
    ListStore,
    answer_of,
    event,
    listening,
    received,
)
from tests.rig.support import unless_root
from tests.rig.tls import new_certificate

QUICK = ReceiverLimits(
    max_record_bytes=500,
    max_request_bytes=2000,
    max_pending_bytes=3000,
    head_timeout_s=0.2,
    body_timeout_s=0.2,
    body_window_s=0.1,
    linger_s=0.2,
    keep_alive_s=1,
    grace_s=1,
)
# As its README has it, but for the port.
REFERENCE_CURL = """\
curl --location --request POST 'localhost:31080' \\
--header 'Content-Type: application/cloudevents+json' \\
--data-raw '{
     "id": "53d1c340-551a-11ed-96c7-8b504d95037c",
    "source": "quickstart",
    "specversion": "1.0",
    "type": "quickstart",
    "datacontenttype": "application/json",
    "time": "2022-10-26T10:38:29.345Z",
    "data": {
        "myData": "simulation event data"
    }
}'
"""


def reason(body: bytes) -> str:
    told = json.loads(body)
    assert list(told) == ["error"]
    return str(told["error"])


# What is answered


def test_an_event_is_kept_as_one_line_and_answered_with_202() -> None:
    with listening() as sink:
        answer = sink.post(event(1, data={"a": 1.10}))
        assert (answer.status, json.loads(answer.body)) == (202, {"accepted": 1})
        ((line,),) = sink.store.appends
        assert line.endswith(b"\n") and json.loads(line) == event(1, data={"a": 1.10})


def test_a_batch_is_kept_by_one_append() -> None:
    with listening() as sink:
        assert sink.post(*(event(number) for number in range(100))).status == 202
        assert len(sink.store.appends) == 1
        assert sink.store.ids == [str(number) for number in range(100)]


def test_an_empty_batch_is_answered_and_bothers_nobody() -> None:
    with listening() as sink:
        assert sink.post().status == 202
        assert sink.store.appends == []


def test_a_binary_event_is_taken_from_the_headers() -> None:
    with listening() as sink:
        headers = {f"ce_{name}": value for name, value in event(1).items()}
        answer = sink.request("POST", "/", b"\xff\x00", content_type="image/png", **headers)
        assert answer.status == 202
        ((line,),) = sink.store.appends
        assert json.loads(line) == event(1, datacontenttype="image/png", data_base64="/wA=")


def test_the_example_of_the_reference_works_with_curl() -> None:
    with listening() as sink:
        command = REFERENCE_CURL.replace("31080", str(sink.port))
        command = command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=WAIT_S)
        assert (done.returncode, done.stdout, done.stderr) == (0, '{"accepted":1}', "")
        ((line,),) = sink.store.appends
        assert json.loads(line)["id"] == "53d1c340-551a-11ed-96c7-8b504d95037c"
        assert json.loads(line)["data"] == {"myData": "simulation event data"}


def test_an_event_is_answered_only_once_it_is_durable() -> None:
    store = ListStore()
    store.gate.clear()
    with listening(store) as sink:
        thread, answers = sink.post_aside(event())
        assert store.entered.acquire(timeout=WAIT_S)
        thread.join(0.2)
        assert answers == []
        store.gate.set()
        thread.join(WAIT_S)
        assert [answer.status for answer in answers] == [202]


def test_what_many_clients_send_meanwhile_shares_one_append() -> None:
    store = ListStore()
    store.gate.clear()
    with listening(store) as sink:
        first = sink.post_aside(event(0))
        assert store.entered.acquire(timeout=WAIT_S)
        others = [sink.post_aside(event(number)) for number in range(1, 21)]
        deadline = time.monotonic() + WAIT_S
        while _pending_bytes(sink.port) < 21 * len(json.dumps(event(1))):
            assert time.monotonic() < deadline
        store.gate.set()
        for thread, answers in (first, *others):
            thread.join(WAIT_S)
            assert [answer.status for answer in answers] == [202]
        sizes = [len(lines) for lines in store.appends]
        # The last to be held may not have been submitted yet when the gate was opened.
        assert (sizes[0], sum(sizes), len(sizes) <= 3) == (1, 21, True)
        assert sorted(map(int, store.ids)) == list(range(21))


def _pending_bytes(port: int) -> float:
    return _metrics(port)["streamtos3_sink_pending_request_bytes"]


def _metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    connection.request("GET", "/metrics")
    text = answer_of(connection).body.decode()
    connection.close()
    samples = [line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in samples}


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"{", 400), (json.dumps(event(id="")), 400), (json.dumps(event(data="x" * 600)), 413)],
)
def test_a_bad_event_is_refused_with_the_reason_and_nothing_is_kept(
    sent: bytes | str, status: int
) -> None:
    with listening(limits=QUICK) as sink:
        answer = sink.request("POST", "/", sent, **STRUCTURED)
        assert (answer.status, sink.store.appends) == (status, [])
        assert answer.headers["content-type"] == "application/json"
        assert reason(answer.body)


def test_one_bad_event_keeps_its_whole_batch_out() -> None:
    with listening() as sink:
        answer = sink.post(event(1), event(2, source=""), event(3))
        assert (answer.status, sink.store.appends) == (400, [])
        assert reason(answer.body).startswith("event 1: attribute 'source'")


def test_what_is_no_cloudevent_is_415() -> None:
    with listening() as sink:
        assert sink.request("POST", "/", b"{}", content_type="application/json").status == 415
        gzipped = sink.post(event(), content_encoding="gzip")
        assert (gzipped.status, "gzip" in reason(gzipped.body)) == (415, True)


def test_a_connection_is_good_for_many_requests_even_after_a_bad_one() -> None:
    with listening() as sink:
        connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=WAIT_S)
        statuses = []
        for body in (json.dumps(event()), "{", json.dumps(event())):
            connection.request("POST", "/", body, STRUCTURED)
            local = connection.sock.getsockname()
            statuses.append((answer_of(connection).status, local))
        connection.close()
        assert [status for status, _ in statuses] == [202, 400, 202]
        assert len({local for _, local in statuses}) == 1


def test_other_paths_and_methods_are_unknown() -> None:
    with listening() as sink:
        assert sink.request("POST", "/other", json.dumps(event()), **STRUCTURED).status == 404
        assert sink.request("PUT", "/").status == 405
        assert sink.store.appends == []


def test_the_handshake_of_webhooks_is_answered() -> None:
    with listening() as sink:
        answer = sink.request("OPTIONS", "/", webhook_request_origin="example.com")
        assert (answer.status, answer.headers["webhook-allowed-origin"]) == (200, "*")
        assert "webhook-allowed-origin" not in sink.request("OPTIONS", "/").headers


# The store refuses


def test_a_full_spool_is_503_with_retry_after_and_passes() -> None:
    with listening() as sink:
        sink.store.error = SpoolFullError("full")
        answer = sink.post(event(1))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        sink.store.error = None
        assert sink.post(event(2)).status == 202
        assert sink.store.ids == ["2"]
        assert sink.scope.error is None


@pytest.mark.parametrize("error", [SpoolError("no disk"), ValueError("a bug")])
def test_an_error_of_the_recipient_is_503_ends_the_sink_and_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, listening() as sink:
        sink.store.error = error
        answer = sink.post(event())
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert sink.scope.error is error
        sink.thread.join(WAIT_S)
        assert not sink.thread.is_alive()
    assert caught.value is error


def test_a_recipient_that_was_stopped_is_503_and_says_nothing_new() -> None:
    with listening() as sink:
        sink.store.error = Cancelled()
        assert sink.post(event(1)).status == 503
        sink.store.error = None
        assert sink.post(event(2)).status == 503
        assert sink.request("GET", "/healthz").status == 503
        assert (sink.scope.error, sink.store.appends) == (None, [])


# The end


def test_what_is_under_way_at_the_end_is_answered_and_nothing_after_it() -> None:
    store = ListStore()
    store.gate.clear()
    with listening(store) as sink:
        idle = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=WAIT_S)
        idle.request("GET", "/healthz")
        assert answer_of(idle).status == 200
        thread, answers = sink.post_aside(event(1))
        assert store.entered.acquire(timeout=WAIT_S)
        sink.scope.fail(Interrupted(signal.SIGTERM))
        assert received(idle.sock) == b""  # an idle connection is closed at once
        idle.close()
        store.gate.set()
        thread.join(WAIT_S)
        assert [answer.status for answer in answers] == [202]
        sink.thread.join(WAIT_S)
        with pytest.raises(ConnectionRefusedError):
            sink.post(event(2))
    assert store.ids == ["1"]


def test_a_sender_that_never_finishes_does_not_hold_the_end_up() -> None:
    sent = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab"
    with listening(limits=ReceiverLimits(grace_s=1)) as sink, sink.raw(sent):
        while _pending_bytes(sink.port) < 2:
            pass
        before = time.monotonic()
        sink.end()
        assert time.monotonic() - before < 10
    assert sink.store.appends == []


def test_a_latch_that_has_failed_already_ends_it_at_once() -> None:
    with CancelScope() as scope:
        scope.fail(Interrupted(signal.SIGTERM))
        serve(ListStore(), address=Address("127.0.0.1", 0), scope=scope)


def test_signals_stay_ours_even_in_the_main_thread() -> None:
    program = """
import signal, threading
from streamtos3.runtime.cancel import CancelScope
from streamtos3.receiver.server import Address, serve
from tests.rig.receiver_rig import ListStore
mine = lambda *_: None
signal.signal(signal.SIGINT, mine); signal.signal(signal.SIGTERM, mine)
scope = CancelScope()
def during(url):
    print(signal.getsignal(signal.SIGINT) is mine, signal.getsignal(signal.SIGTERM) is mine)
    threading.Timer(0.1, scope.fail, [RuntimeError("end")]).start()
serve(ListStore(), address=Address("127.0.0.1", 0), scope=scope, on_listening=during)
print(signal.getsignal(signal.SIGINT) is mine, threading.active_count())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True True\nTrue 1\n", "")


# What is bounded


def test_lines_that_could_never_be_stored_are_413_however_small_their_request_is() -> None:
    limits = ReceiverLimits(max_request_bytes=1000, max_group_bytes=1000, linger_s=0.2)
    with listening(limits=limits) as sink:
        headers = {f"ce_{name}": value for name, value in event(1).items()}
        image = {"content_type": "image/png", **headers}
        answer = sink.request("POST", "/", b"\xff" * 900, **image)  # 1200 in Base64
        assert (answer.status, sink.store.appends) == (413, [])
        assert re.match(r"1\d{3} bytes would be stored, at most 1000 can be", reason(answer.body))
        assert sink.request("POST", "/", b"\xff" * 500, **image).status == 202
        assert sink.post(*(event(number) for number in range(9))).status == 202
        assert _metrics(sink.port)['streamtos3_sink_rejected_requests_total{reason="too_large"}']


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_request_is_413_while_it_comes(chunked: bool) -> None:
    with listening(limits=QUICK) as sink:
        connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=WAIT_S)
        pieces = iter([b"x" * 1000] * 5)
        length = {} if chunked else {"content-length": "5000"}
        connection.request("POST", "/", pieces, {**STRUCTURED, **length}, encode_chunked=chunked)
        answer = answer_of(connection)
        connection.close()
        assert (answer.status, "2000 bytes" in reason(answer.body)) == (413, True)


def test_a_request_without_end_is_cut_off() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    with listening(limits=QUICK) as sink, sink.raw(head) as connection:
        deadline = time.monotonic() + WAIT_S
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                connection.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        assert _metrics(sink.port)['streamtos3_sink_rejected_requests_total{reason="too_large"}']


def test_a_request_that_says_it_is_large_is_not_even_read() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n"
    with listening(limits=QUICK) as sink:
        with sink.raw(head + b"expect: 100-continue\r\n\r\n") as connection:
            assert received(connection).startswith(b"HTTP/1.1 413")
        with sink.raw(head + b"\r\n") as connection:
            assert received(connection).startswith(b"HTTP/1.1 413")


def test_bodies_that_are_held_are_bounded_together() -> None:
    store = ListStore()
    store.gate.clear()
    limits = ReceiverLimits(
        max_pending_bytes=2 * len(json.dumps(event(1))), linger_s=0.2, grace_s=1
    )
    with listening(store, limits=limits) as sink:
        held = [sink.post_aside(event(number)) for number in (1, 2)]
        while _pending_bytes(sink.port) < limits.max_pending_bytes:
            pass
        answer = sink.post(event(3))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        store.gate.set()
        for thread, answers in held:
            thread.join(WAIT_S)
            assert [each.status for each in answers] == [202]
        assert sink.post(event(4)).status == 202  # what was held has been given back
        assert _pending_bytes(sink.port) == 0


def test_a_body_that_comes_too_slowly_is_408() -> None:
    with listening(limits=QUICK) as sink:
        with sink.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab") as connection:
            assert received(connection).startswith(b"HTTP/1.1 408")
        assert _pending_bytes(sink.port) == 0


def test_what_is_announced_holds_nobody_up() -> None:
    """Eight senders say that they will send all there is room for, and send one byte."""
    limits = ReceiverLimits(max_request_bytes=2000, max_pending_bytes=3000, grace_s=1)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2000\r\n\r\n{"
    with listening(limits=limits) as sink, ExitStack() as held:
        for _ in range(8):
            held.enter_context(sink.raw(head))
        while _pending_bytes(sink.port) < 8:
            pass
        assert sink.post(event(1)).status == 202


def test_a_body_that_trickles_is_ended_long_before_its_time_is_over() -> None:
    limits = ReceiverLimits(
        body_timeout_s=3600, body_window_s=0.2, least_body_bytes=100, linger_s=0.2, grace_s=1
    )
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\n"
    with listening(limits=limits) as sink:
        with sink.raw(head) as connection:
            connection.settimeout(0.02)
            got = b""
            while not got:
                connection.sendall(b"x")
                with suppress(TimeoutError):
                    got = connection.recv(65536)
            assert got.startswith(b"HTTP/1.1 408")
        assert _metrics(sink.port)['streamtos3_sink_rejected_requests_total{reason="timeout"}'] == 1


def test_a_body_that_is_slow_but_steady_is_taken() -> None:
    limits = ReceiverLimits(body_window_s=0.5, least_body_bytes=1, grace_s=1)
    with listening(limits=limits) as sink:
        content = json.dumps(event(1)).encode()
        head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
        head += "content-type: application/cloudevents+json\r\n\r\n"
        with sink.raw(head.encode()) as connection:
            for number in range(len(content)):
                connection.sendall(content[number : number + 1])
                time.sleep(0.02)
            assert connection.recv(65536).startswith(b"HTTP/1.1 202")


def test_an_answer_that_is_not_taken_ends_its_connection() -> None:
    """A sender who asks and asks and reads nothing would hold its place for ever."""
    with listening(limits=QUICK) as sink, sink.raw(b"") as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises((BrokenPipeError, ConnectionResetError, TimeoutError)):
            while True:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        key = 'streamtos3_sink_closed_connections_total{reason="answer_not_taken"}'
        while key not in _metrics(sink.port):
            pass


def test_what_is_not_http_is_400_and_counted() -> None:
    with listening() as sink:
        for sent in (b"\x16\x03\x01\x02\x00\x01", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            with sink.raw(sent + b"\r\n\r\n") as connection:
                head, _, body = received(connection).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400")
                assert reason(body)
        key = 'streamtos3_sink_rejected_requests_total{reason="malformed"}'
        assert _metrics(sink.port)[key] == 3


def test_after_a_length_that_was_said_twice_nothing_more_is_read() -> None:
    content = json.dumps(event(1)).encode()
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/cloudevents+json\r\n"
    head += b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    with (
        listening() as sink,
        sink.raw(head + chunked + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n") as one,
    ):
        got = received(one)
        assert got.startswith(b"HTTP/1.1 202")
        assert got.count(b"HTTP/1.1") == 1


def test_a_sender_that_closes_its_side_is_still_answered() -> None:
    """As `nc -N` does when its input has ended."""
    content = json.dumps(event(1)).encode()
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-type: application/cloudevents+json\r\n"
    head += b"content-length: %d\r\n\r\n" % len(content)
    with listening() as sink:
        with sink.raw(head + content) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert received(connection).startswith(b"HTTP/1.1 202")
        with sink.raw(head + content[:-1]) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert received(connection) == b""
        assert sink.store.ids == ["1"]


@pytest.mark.slow
def test_while_a_large_batch_is_parsed_others_are_answered() -> None:
    """Parsed on the event loop, nobody would be before it is."""
    batch = [event(number) for number in range(100_000)]
    with listening() as sink:
        thread, answers = sink.post_aside(*batch)
        while not _pending_bytes(sink.port):
            pass
        order = []
        while thread.is_alive():
            statuses = [sink.request("GET", "/healthz").status, sink.post(event(1)).status]
            order.append(statuses)
        assert [answer.status for answer in answers] == [202]
        assert order.count([200, 202]) == len(order) > 3
        assert len(sink.store.ids) == 100_000 + len(order)


def test_a_bad_event_in_a_large_batch_is_named() -> None:
    batch = [event(number) for number in range(2000)]
    batch[1234]["source"] = ""
    with listening() as sink:
        answer = sink.post(*batch)
        assert (answer.status, sink.store.appends) == (400, [])
        assert reason(answer.body).startswith("event 1234: attribute 'source'")


@pytest.mark.parametrize("sent", [b"", b"POST / HT", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"])
def test_a_connection_without_a_request_is_let_go(sent: bytes) -> None:
    with listening(limits=QUICK) as sink:
        with sink.raw(sent) as connection:
            assert _closed(connection)
        answered = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        with sink.raw(answered + sent) as connection:  # the second request is no better
            if sent:
                assert _closed(connection)


def _closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_slow_append_does_not_look_like_a_slow_sender() -> None:
    store = ListStore()
    store.gate.clear()
    with listening(store, limits=QUICK) as sink:
        thread, answers = sink.post_aside(event())
        thread.join(3 * QUICK.head_timeout_s)
        store.gate.set()
        thread.join(WAIT_S)
        assert [answer.status for answer in answers] == [202]


def test_connections_are_bounded() -> None:
    limits = ReceiverLimits(max_connections=3, head_timeout_s=30, grace_s=1)
    with listening(limits=limits) as sink:
        silent = [sink.raw(b"") for _ in range(3)]
        assert sink.request("GET", "/healthz").status == 503
        silent += [sink.raw(b"") for _ in range(3)]
        with sink.raw(b"") as connection:
            assert _closed(connection)
        for connection in silent:
            connection.close()
        while not _is_healthy(sink):
            pass


def _is_healthy(sink: Listening) -> bool:
    try:
        return sink.request("GET", "/healthz").status == 200
    except ConnectionResetError:  # those that were closed here are not yet closed there
        return False


def test_a_sender_that_hangs_up_leaves_nothing_behind() -> None:
    with listening() as sink:
        sink.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab").close()
        while "disconnected" not in str(_metrics(sink.port)):
            pass
        assert (_pending_bytes(sink.port), sink.store.appends) == (0, [])


# Who may send


def test_a_token_is_asked_for_where_one_is_set() -> None:
    with listening(token="s3cret") as sink:
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
            answer = sink.post(event(), **given)
            assert (answer.status, sink.store.appends) == (401, [])
            assert answer.headers["www-authenticate"] == 'Bearer realm="streamtos3"'
            assert sink.request("GET", "/metrics", **given).status == 401
        assert sink.post(event(), authorization="bearer s3cret").status == 202
        assert sink.request("GET", "/metrics", authorization="Bearer s3cret").status == 200
        assert sink.request("GET", "/healthz").status == 200


def test_a_token_that_is_no_ascii_is_just_wrong() -> None:
    with listening(token="s3cret") as sink:
        assert sink.post(event(), authorization="Bearer \xe4").status == 401


def test_over_tls(tmp_path: Path) -> None:
    certificate = new_certificate(tmp_path)
    with listening(tls=TlsFiles(str(certificate))) as sink:
        assert sink.url == f"https://127.0.0.1:{sink.port}"
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", sink.port, context=context, timeout=WAIT_S
        )
        connection.request("POST", "/", json.dumps([event(1), event(2)]), BATCHED)
        assert answer_of(connection).status == 202
        connection.close()
        assert sink.store.ids == ["1", "2"]


def test_a_connection_without_a_handshake_counts_and_is_let_go(tmp_path: Path) -> None:
    certificate = new_certificate(tmp_path)
    hello = bytes.fromhex("16030102000100 01fc0303".replace(" ", ""))
    limits = ReceiverLimits(max_connections=3, head_timeout_s=0.5, linger_s=0.2, grace_s=1)
    with listening(tls=TlsFiles(str(certificate)), limits=limits) as sink:
        silent = [sink.raw(sent) for sent in (b"", hello, b"", hello, b"", hello)]
        with sink.raw(b"") as too_many:
            too_many.settimeout(0.3)  # before the others' time is over
            with suppress(ConnectionResetError):
                assert too_many.recv(1) == b""
        for each in silent:
            with each:
                assert _closed(each)
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", sink.port, context=context, timeout=WAIT_S
        )
        connection.request("GET", "/healthz")
        assert answer_of(connection).status == 200
        connection.close()


def test_a_certificate_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(UsageError, match="cannot use the certificate .*empty.pem"):
        TlsFiles(str(tmp_path / "empty.pem")).context()
    with pytest.raises(UsageError, match="no such file"):
        TlsFiles(str(tmp_path / "absent.pem")).context()


def test_a_token_file_is_read_as_a_keyfile_is(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    assert read_token(str(path)) == "s3cret"
    path.chmod(0o640)
    with pytest.raises(CredentialsError, match="can be read by others"):
        read_token(str(path))
    assert read_token(str(path), allow_insecure=True) == "s3cret"


@pytest.mark.parametrize("content", ["", "\n", "two words", "two\nlines", "gruß"])
def test_a_malformed_token_file_is_refused_without_quoting_it(content: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(CredentialsError) as caught:
        read_token(str(path))
    assert not content.strip() or content.strip() not in str(caught.value)


@unless_root
def test_a_token_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret")
    path.chmod(0)
    with pytest.raises(CredentialsError, match="permission denied"):
        read_token(str(path))


# Where it listens


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:8080", "::1", 8080, True),
        (":8080", "127.0.0.1", 8080, True),
        ("8080", "127.0.0.1", 8080, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("sink.example.com:80", "sink.example.com", 80, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_address(text)
    assert (address, address.is_loopback) == (Address(host, port), loopback)


@pytest.mark.parametrize(
    "text", ["", "x", "host:", "::1:8080", "::1", "host:65536", "host:-1", "host:８０", "a:b:1"]
)
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="not an address to listen on"):
        parse_address(text)


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_other_loopback_addresses_can_be_listened_on(host: str) -> None:
    if host == "::1":
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("this machine has no IPv6")
    with listening(host=host) as sink:
        assert sink.url.startswith("http://[::1]:" if host == "::1" else "http://localhost:")
        with socket.create_connection((host, sink.port), timeout=WAIT_S) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert received(connection).endswith(b"ok\n")


def test_an_address_in_use_is_a_usage_error() -> None:
    with listening() as sink, CancelScope() as scope:
        address = Address("127.0.0.1", sink.port)
        with pytest.raises(UsageError) as caught:
            serve(ListStore(), address=address, scope=scope)
    assert caught.value.message == f"cannot listen on {address}: address already in use"
    assert caught.value.exit_status == 2


def test_an_address_is_taken_by_bind_and_listened_on_by_serve() -> None:
    bound = bind(Address("127.0.0.1", 0))
    address = Address("127.0.0.1", bound.getsockname()[1])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port))
    with CancelScope() as scope:

        def answered(url: str) -> None:
            assert url == f"http://{address}"
            socket.create_connection((address.host, address.port), timeout=WAIT_S).close()
            with pytest.raises(UsageError, match="address already in use"):
                bind(address)
            scope.fail(Interrupted(signal.SIGTERM))

        serve(ListStore(), address=address, scope=scope, on_listening=answered, bound=bound)
    assert bound.fileno() == -1


def test_of_two_that_have_bound_an_address_the_second_to_listen_is_told() -> None:
    first = bind(Address("127.0.0.1", 0))
    address = Address("127.0.0.1", first.getsockname()[1])
    second = bind(address)
    with first, CancelScope() as scope:
        first.listen()
        with pytest.raises(UsageError, match="address already in use"):
            serve(ListStore(), address=address, scope=scope, bound=second)


@pytest.mark.skipif(shutil.which("ss") is None, reason="there is no ss to show it")
def test_the_backlog_is_the_one_that_the_limits_say() -> None:
    with listening(limits=ReceiverLimits(backlog=7, grace_s=1)) as sink:
        command = ["ss", "-Hltn", f"sport = :{sink.port}"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert shown.split()[2] == "7"


def test_a_host_that_nobody_knows_is_a_usage_error() -> None:
    with (
        CancelScope() as scope,
        pytest.raises(UsageError, match="cannot listen on nowhere.invalid:1"),
    ):
        serve(ListStore(), address=Address("nowhere.invalid", 1), scope=scope)


def test_beyond_loopback_it_takes_a_token_or_a_word() -> None:
    everywhere = Address("0.0.0.0", 8080)

    def check(address: Address, token: bool, tls: bool, insecure: bool) -> str | None:
        return check_exposure(address, has_token=token, has_tls=tls, insecure=insecure)

    with pytest.raises(UsageError, match="from anyone"):
        check(everywhere, False, True, False)
    assert check(everywhere, False, False, True) is None
    assert check(everywhere, True, True, False) is None
    assert "in the clear" in (check(everywhere, True, False, False) or "")
    assert check(Address("127.0.0.1", 1), False, False, False) is None


@pytest.mark.parametrize("call", ["bind(here)", "serve(None, address=here, scope=CancelScope())"])
def test_without_the_extra_it_is_said_how_to_get_it(call: str) -> None:
    """By `bind` already: before a spool is opened, or S3 is asked for anything."""
    program = f"""
import sys
sys.modules["uvicorn"] = None
from streamtos3.errors import UsageError
from streamtos3.runtime.cancel import CancelScope
from streamtos3.receiver.server import Address, bind, serve
here = Address("127.0.0.1", 0)
try:
    {call}
except UsageError as error:
    print(error.message); print(error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "listening needs uvicorn, which is not installed",
        "pip install 'streamtos3[sink]'",
    ]


def test_many_clients_at_once_lose_nothing() -> None:
    with listening() as sink:

        def send(client: int) -> list[int]:
            connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=WAIT_S)
            found = []
            for number in range(10):
                sent = [event(client * 1000 + number * 10 + each) for each in range(10)]
                connection.request("POST", "/", json.dumps(sent), BATCHED)
                found.append(answer_of(connection).status)
            connection.close()
            return found

        with ThreadPoolExecutor(8) as pool:
            assert [status for each in pool.map(send, range(8)) for status in each] == [202] * 80
        expected = sorted(client * 1000 + number for client in range(8) for number in range(100))
        assert sorted(map(int, sink.store.ids)) == expected
        assert threading.active_count() < 40
