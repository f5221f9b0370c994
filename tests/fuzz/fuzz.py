"""Feeds mutated input to the targets and keeps what breaks one: `fuzz.py [NAME …] [--seconds N] [--seed N]`.

A find is an exception no target allows, more than `LONGEST_S` of CPU time for one input, or memory over
`MOST_BYTES`. It is made smaller and kept in `cases/NAME/`, where every test run tries it again.
"""

import argparse
import hashlib
import random
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGETS: dict[str, Any] = runpy.run_path(str(HERE / "targets.py"))["TARGETS"]

LONGEST_S = 1.0
LARGEST_INPUT_BYTES = 65507
MOST_BYTES = 2 * 2**30
SHRINK_S = 10.0
REPEATS = (1, 1, 1, 2, 2, 3, 3, 5, 10, 64, 65, 1500)


def fault_of(name: str, data: bytes) -> tuple[str | None, object]:
    """What is wrong with a target's answer to `data` (None: nothing), and what it says became of it."""
    begun_s = time.process_time()
    try:
        outcome = TARGETS[name].check(data)
    except Exception as error:  # noqa: BLE001 - whatever comes out is what is looked for
        return f"{type(error).__name__}: {str(error)[:200]}", None
    took_s = time.process_time() - begun_s
    return (f"slow: {took_s:.1f} s" if took_s > LONGEST_S else None), outcome


def mutated(data: bytes, corpus: list[bytes], tokens: tuple[bytes, ...], chance: random.Random) -> bytes:
    """`data` after a few random changes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randrange(len(changed) + 1)
        end = min(len(changed), at + chance.choice((1, 2, 4, 16, 200)))
        match chance.randrange(8):
            case 0:
                changed[at:end] = chance.randbytes(chance.randrange(4))
            case 1 | 2:
                changed[at:at] = chance.choice(tokens)
            case 3:
                changed[at:end] = chance.choice(tokens)
            case 4:
                del changed[at:end]
            case 5:
                changed[at:at] = changed[at:end] * chance.choice(REPEATS)
            case 6:
                other = chance.choice(corpus)
                changed[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                changed[at:at] = chance.choice(tokens) * chance.choice(REPEATS)
    return bytes(changed[:LARGEST_INPUT_BYTES])


def shrunk(name: str, data: bytes) -> bytes:
    """A smaller input with a fault of the same kind."""
    kind = (fault_of(name, data)[0] or "").partition(":")[0]
    end_s = time.monotonic() + SHRINK_S
    size = len(data) // 2
    while size and time.monotonic() < end_s:
        at = 0
        while at < len(data) and time.monotonic() < end_s:
            smaller = data[:at] + data[at + size :]
            if (fault_of(name, smaller)[0] or "").partition(":")[0] == kind:
                data = smaller
            else:
                at += size
        size //= 2
    return data


def fuzz(name: str, seconds: float, chance: random.Random) -> bool:
    """Whether the target held for so long."""
    target = TARGETS[name]
    corpus = list(target.seeds)
    outcomes: set[object] = set()
    tried = 0
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        if tried < len(target.seeds):
            data = target.seeds[tried]
        else:
            data = mutated(chance.choice(corpus), corpus, target.tokens, chance)
        tried += 1
        fault, outcome = fault_of(name, data)
        if fault is not None:
            data = shrunk(name, data)
            case = HERE / "cases" / name / hashlib.sha256(data).hexdigest()[:12]
            case.parent.mkdir(parents=True, exist_ok=True)
            case.write_bytes(data)
            print(f"{name}: {fault}\n  kept as {case.relative_to(HERE)}: {data[:200]!r}")  # noqa: T201 - a command prints
            return False
        if outcome not in outcomes:
            outcomes.add(outcome)
            corpus.append(data)
    print(f"{name}: {tried:,} inputs, {len(outcomes):,} kinds of outcome, no find")  # noqa: T201 - the same
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each target (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="for the same inputs again")
    options = parser.parse_args()
    if unknown := set(options.names) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    chance = random.Random(options.seed)  # noqa: S311 - noise, no secret
    held = [fuzz(name, options.seconds, chance) for name in options.names or TARGETS]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
