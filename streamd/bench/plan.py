"""How much is measured, where, and who gets the progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sizes of all scenarios. The defaults are the benchmark; `quick` only shows that it works."""

    step: Callable[[str], None]
    """Is told what is measured next."""
    parent: Path
    """Folder under which each scenario's databases live as long as it runs."""
    judge: bool = True
    """Whether goals are judged."""
    tcp_records: int = 1_000_000
    tcp_repeats: int = 3
    udp_rate: int = 100_000
    udp_steady_s: float = 10.0
    udp_step_s: float = 4.0
    udp_most_rate: int = 500_000
    latency_records: int = 100_000
    idle_records: int = 30
    memory_records: int = 1_000_000
    memory_buffer_bytes: int = 32 * MIB
    memory_hold_s: float = 8.0
    starts: int = 5
    fairness_datagrams: int = 1_000_000
    meter_batches: int = 200_000
    meter_records: int = 102_400
    retention_filled: int = 600_000
    """Records that are stored before: more than `retention_bytes` hold."""
    retention_records: int = 50_000
    retention_repeats: int = 3
    retention_bytes: int = 32 * MIB
    attack_records: int = 600_000
    """A minute's."""
    attack_idle: int = 10_000

    @classmethod
    def quick(cls, step: Callable[[str], None], parent: Path) -> "Plan":
        """Every scenario as small as it can be: seconds, not minutes, and no goal is judged."""
        return cls(
            step=step, parent=parent, judge=False, tcp_records=20_000, tcp_repeats=1, udp_rate=5_000,
            udp_steady_s=1.0, udp_step_s=1.0, udp_most_rate=5_000, latency_records=5_000, idle_records=2,
            memory_records=200_000, memory_buffer_bytes=MIB, memory_hold_s=1.5, starts=1,
            fairness_datagrams=20_000, meter_batches=2_000, meter_records=5_120,
            retention_filled=30_000, retention_records=10_000, retention_repeats=1, retention_bytes=MIB,
            attack_records=10_000, attack_idle=100,
        )  # fmt: skip

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh folder, gone with all that is in it at the end."""
        with TemporaryDirectory(prefix="streamd-bench-", dir=self.parent) as name:
            yield Path(name)
