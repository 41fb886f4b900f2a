"""What signing does with a part's body, before a byte of it is sent."""

from __future__ import annotations
