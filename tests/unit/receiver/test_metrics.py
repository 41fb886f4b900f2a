"""What Prometheus is told: names, kinds and values, read back by its own parser."""

from __future__ import annotations
