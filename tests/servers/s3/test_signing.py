"""What signing does with a part's body, before a byte of it is sent."""

from __future__ import annotations

import pytest

from streamtos3.integrity.digests import part_md5
from streamtos3.model.options import Connection
from streamtos3.runtime.cancel import Cancelled
from streamtos3.s3.bodies import PartBody
from streamtos3.s3.bucket import Bucket
from tests.rig.command import anonymous
from tests.rig.fake_s3 import FakeS3


def test_a_stop_waits_until_the_body_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """awscrt signs in C code, which makes a traceback on the terminal of what is raised there."""
    sent: list[object] = []

    def stop() -> None:
        raise Cancelled

    with FakeS3() as fake:
        for name, value in anonymous(fake.endpoint_url).items():
            monkeypatch.setenv(name, value)
        store = Bucket("b", Connection())
        store._sender._clients.get("body").meta.events.register(
            "before-send.s3", lambda **_: sent.append(1)
        )
        upload_id, _ = store.create("k", {})
        sent.clear()
        data = memoryview(b"some bytes")
        with pytest.raises(Cancelled):
            store.put_part("k", upload_id, 1, PartBody(data, stop), part_md5(data))
        assert sent == [1]
        assert fake.uploads[upload_id].parts == []
