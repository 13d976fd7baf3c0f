"""What W&B keeps of an offline run."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def wandb_records(file: Path) -> Iterator[Any]:
    """W&B's records in an offline run's file: protobuf messages in LevelDB's log format, after seven bytes of its own.

    Format: blocks of 32768 bytes; in them checksum (4), length (2), kind (1: whole, 2: first, 3: middle, 4: last part).
    """
    from wandb.proto import wandb_internal_pb2

    raw = file.read_bytes()
    assert raw[:4] == b":W&B"
    place, parts = 7, b""
    while place < len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, place)
        parts += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
