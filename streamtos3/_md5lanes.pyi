from typing import TypeAlias

_Buffer: TypeAlias = bytes | bytearray | memoryview

KINDS: tuple[tuple[str, int], ...]

def digests(kind: str, buffers: list[_Buffer], /) -> list[bytes]: ...
