"""How long the event loop may stand still before the kernel drops datagrams."""


def slack_s(free_bytes: float, inflow_per_s: float, frame_bytes: float) -> float | None:
    """`free bytes ÷ (I · bytes of a datagram in the kernel's queue)`. None while nothing arrives."""
    needed = inflow_per_s * frame_bytes
    return max(0.0, free_bytes) / needed if needed > 0 else None
