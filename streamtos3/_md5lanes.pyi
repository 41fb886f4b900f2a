from typing import TypeAlias

_Buffer: TypeAlias = bytes | bytearray | memoryview

KINDS: tuple[tuple[str, int], ...]

def digests(kind: str, buffers: list[_Buffer], /) -> list[bytes]: ...
def update(kind: str, states: bytearray, buffers: list[_Buffer], /) -> None: ...
def finish(
    kind: str, states: bytearray, sizes: list[int], buffers: list[_Buffer], /
) -> list[bytes]: ...
