"""What-if scenarios, in the words of the command line."""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from streamd.config.problems import did_you_mean
from streamd.core.errors import ConfigError
from streamd.core.listed import listed
from streamd.core.plural import counted
from streamd.core.printable import printable
from streamd.core.settings import meant_duration, meant_size, parse_duration_s, parse_size_bytes
from streamd.runtime import backoff

T = TypeVar("T")

MOST = 1e12
"""The largest rate and the largest burst."""
MOST_S = 366 * 86400.0
"""The longest scenario."""
MOST_OVER_S = 3600.0
"""The longest observation of a daemon, and the most that a step can cost."""
MOST_FRAME_BYTES = 2**30
_LEAST_S = 1e-6
_DAY_S = 86400.0
LONGEST_PAUSE_S = backoff.MOST_S * (1 + backoff.JITTER)
"""A sink that fails tries again after pauses that double, up to this one, so it may notice an end so late."""
BURST_WITHIN_S = 1.0
"""A burst comes within this time if the scenario does not say how fast it comes."""

_SIZED = "a size of at least 1B and at most 1GiB, like 300B"
_NUMBER = r"\d{1,15}(?:\.\d{1,9})?"
_FACTOR = re.compile(rf"[×xX*]\s?({_NUMBER})|({_NUMBER})\s?[×xX]", re.ASCII)
_RATE = re.compile(rf"({_NUMBER})\s?/\s?(s|min|h)", re.ASCII)
_COUNT = re.compile(r"\d{1,15}", re.ASCII)
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}
_MEANT_UNITS = {
    "sec": "s", "second": "s", "seconds": "s", "m": "min", "minute": "min", "minutes": "min", "hour": "h",
}  # fmt: skip
_PREFIXES = {"k": 10**3, "K": 10**3, "M": 10**6}


@dataclass(frozen=True, slots=True)
class RateChange:
    """Another rate of arrivals: a multiple of the present one, or records a second. Without a source: all."""

    source: str | None
    factor: float | None
    per_s: float | None


@dataclass(frozen=True, slots=True)
class Stall:
    """A sink writes nothing for a time."""

    sink: str
    for_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Burst:
    """Additional frames, spread evenly over a time. Without a source: of the only one."""

    source: str | None
    frames: int
    within_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens beside the usual load, and for how long to look."""

    for_s: float = 600.0
    rates: tuple[RateChange, ...] = ()
    stalls: tuple[Stall, ...] = ()
    bursts: tuple[Burst, ...] = ()
    step_cost_s: float = 0.0
    """Seconds that each record costs more in the steps."""

    def check(self, sources: Collection[str], sinks: Collection[str], record_s: float = math.inf) -> None:
        """Raises `ConfigError` for an unknown name, or if a source has to be named.

        `record_s` is what the workers of the costliest pipelines need for a record now.
        """
        if -self.step_cost_s > record_s:
            raise ConfigError(
                f"--step-cost {self.step_cost_s * 1e6:.9g}us: the workers need {record_s * 1e6:.3g} µs for a"
                f' record now, and no step can save more; write "-{record_s / 2 * 1e6:.3f}us"'
            )
        for rate in self.rates:
            _known("--rate", "source", rate.source, sources)
        for stall in self.stalls:
            _known("--stall", "sink", stall.sink, sinks)
            _in_time("--stall", stall.at_s, self.for_s)
        for burst in self.bursts:
            _known("--burst", "source", burst.source, sources)
            _in_time("--burst", burst.at_s, self.for_s)
            if burst.source is None and len(sources) > 1:
                raise ConfigError(
                    f'--burst: which source? Write "{next(iter(sources))}={burst.frames}"; there are'
                    f" {_listed(sources)}"
                )
        named = [change.source for change in self.rates]
        if repeated := next((name for name in named if name and named.count(name) > 1), None):
            raise ConfigError(f"--rate: {printable(repeated)} is named twice")
        if named.count(None) > 1:
            raise ConfigError("--rate: give one for all sources, or one for each source by name")

    def with_late_retries(self) -> "Scenario":
        """The scenario if each stalled sink notices the end of its stall as late as it can."""
        return replace(
            self,
            stalls=tuple(replace(one, for_s=backoff.latest_notice_s(one.for_s)) for one in self.stalls),
        )

    def with_retries(self, attempts_s: Mapping[str, float]) -> "Scenario":
        """The scenario if the writes of these sinks fail in a stall, each attempt after so many seconds.

        Then they go on when they try again. The writes of other sinks hang, and go on at once.
        """
        return replace(
            self,
            stalls=tuple(
                replace(one, for_s=backoff.noticed_s(one.for_s, attempts_s[one.sink]))
                if one.sink in attempts_s
                else one
                for one in self.stalls
            ),
        )

    def divided(self, processes: int) -> "Scenario":
        """The scenario of one of several processes that share the senders evenly."""
        return replace(
            self,
            rates=tuple(
                one if one.per_s is None else replace(one, per_s=one.per_s / processes) for one in self.rates
            ),
            bursts=tuple(replace(one, frames=math.ceil(one.frames / processes)) for one in self.bursts),
        )

    @property
    def words(self) -> str:
        """The scenario in a few words."""
        said = [*map(_rate_words, self.rates)]
        said += [f"sink {one.sink} stalled for {_span(one.for_s)}{_at(one.at_s)}" for one in self.stalls]
        said += [
            f"a burst of {counted(one.frames, 'frame')}{_of(one.source)}"
            f" within {_span(one.within_s)}{_at(one.at_s)}"
            for one in self.bursts
        ]
        if self.step_cost_s:
            said.append(f"steps that cost {self.step_cost_s * 1e6:+g} µs a record")
        return f"{', '.join(said) or 'the load as it is'}, over {_span(self.for_s)}"


def parse_rate(text: str) -> RateChange:
    """Parse `×2`, `50000/s` or `SOURCE=50000/s`. Raises `ConfigError`."""
    return _parsed("--rate", text, _rate)


def _rate(text: str) -> RateChange:
    source, equals, wanted = text.rpartition("=")
    found = None if equals and not source else _rate_of(source or None, wanted)
    if found is None:
        what = f"a multiple like ×2, or a rate like 50000/s, of at most {MOST:,.0f}"
        raise _Refusal(what, _meant_rates(source, wanted), 2)
    return found


def _rate_of(source: str | None, wanted: str) -> RateChange | None:
    if (found := _FACTOR.fullmatch(wanted)) and (factor := float(found[1] or found[2])) <= MOST:
        return RateChange(source, factor, None)
    if (found := _RATE.fullmatch(wanted)) and (per_s := float(found[1]) / _UNITS_S[found[2]]) <= MOST:
        return RateChange(source, None, per_s)
    return None


def parse_stall(text: str) -> Stall:
    """Parse `SINK=30s` or `SINK=30s@60s`. Raises `ConfigError`."""
    return _parsed("--stall", text, _stall)


def _stall(text: str) -> Stall:
    rest, mark, begin = text.rpartition("@") if "@" in text else (text, "", "")
    sink, equals, duration = rest.rpartition("=")
    tail = f"{mark}{begin}"
    if not equals or not sink:
        meant = [f"SINK={duration}{tail}", f"{duration or 'SINK'}=30s{tail}"]
        raise _Refusal("a sink and a duration, like SINK=30s", meant)

    def meant_duration_of(right: str) -> list[str]:
        return [f"{sink}={right}{tail}", f"{sink}={right}"]

    for_s = _duration(text, duration, meant_duration_of)
    return Stall(sink, for_s, _begin(text))


def parse_burst(text: str) -> Burst:
    """Parse `200000`, `200000/10s`, `200000@60s` or `SOURCE=200000`. Raises `ConfigError`."""
    return _parsed("--burst", text, _burst)


def _burst(text: str) -> Burst:
    rest, mark, begin = text.rpartition("@") if "@" in text else (text, "", "")
    source, equals, wanted = rest.rpartition("=")
    count, slash, within = wanted.partition("/")
    head, tail = f"{source}=" if source else "", f"{mark}{begin}"
    frames = int(count) if _COUNT.fullmatch(count) else 0
    if not 0 < frames <= MOST or (equals and not source):
        what = f"a number of frames from 1 to {MOST:,.0f}, like 200000"
        plain = _plain_number(count) or "200000"
        meant = [f"{head}{plain}{slash}{within}{tail}", f"{head}{plain}"]
        raise _Refusal(what, meant)

    def meant_within(right: str) -> list[str]:
        return [f"{head}{count}/{right}{tail}", f"{head}{count}/{right}"]

    within_s = _duration(text, within, meant_within) if slash else BURST_WITHIN_S
    if frames / within_s > MOST:
        what = f"a burst of at most {MOST:,.0f} frames a second"
        raise _Refusal(what, [f"{head}{count}/1s{tail}", f"{head}{count}"])
    return Burst(source or None, frames, within_s, _begin(text))


def parse_step_cost(text: str) -> float:
    """Seconds of `+5us`, `5us` or `-2us`. Raises `ConfigError`."""
    return _parsed("--step-cost", text, _step_cost)


def _step_cost(text: str) -> float:
    plain = text.strip().replace("µ", "u").replace("μ", "u")
    found = re.fullmatch(r"([+\-−]?)(.*)", plain, re.DOTALL)
    sign, amount = (found[1], found[2]) if found else ("", plain)
    cost_s = _duration(text, amount, lambda right: [f"{sign}{right}"], "5us", MOST_OVER_S)
    return -cost_s if sign in ("-", "−") and sign else cost_s


def parse_for(text: str) -> float:
    """Seconds of `10m`. Raises `ConfigError`."""
    return _parsed("--for", text, _for)


def _for(text: str) -> float:
    return _duration(text, text, lambda right: [right])


def parse_over(text: str) -> float:
    """Seconds of `5s`. Raises `ConfigError`."""
    return _parsed("--over", text, _over)


def _over(text: str) -> float:
    return _duration(text, text, lambda right: [right], "5s", MOST_OVER_S)


def parse_frame_size(text: str) -> int:
    """Bytes of `300B`. Raises `ConfigError`."""
    return _parsed("--frame-size", text, _frame_size)


def _frame_size(text: str) -> int:
    try:
        found = parse_size_bytes(text)
    except ValueError:
        found = 0
    if not 0 < found <= MOST_FRAME_BYTES:
        raise _Refusal(_SIZED, [meant_size(text, "300B"), "300B"])
    return found


def _begin(text: str) -> float:
    """The second after `@`, 0 without it."""
    rest, mark, begin = text.rpartition("@")
    if not mark or re.fullmatch(r"0(\.0{1,9})?(us|ms|s|m|min|h|d|w)?", begin, re.ASCII):
        return 0.0
    return _duration(text, begin, lambda right: [f"{rest}@{right}"])


def _duration(
    text: str,
    part: str,
    whole: Callable[[str], list[str]],
    example: str = "30s",
    most_s: float = MOST_S,
) -> float:
    """The seconds of a part of the text; `whole` puts another duration in its place."""
    try:
        found = parse_duration_s(part)
    except ValueError:
        found = 0.0
    if not _LEAST_S * (1 - 1e-9) <= found <= most_s:
        most = f"{most_s / _DAY_S:g} days" if most_s >= _DAY_S else f"{most_s / 3600:g} h"
        what = f"a duration of at least 1us and at most {most}, like {example}"
        meant = [*whole(meant_duration(part, example)), *whole(example)]
        raise _Refusal(what, meant, part="" if part == text else _shown(part))
    return found


def _shown(text: str) -> str:
    """The text as it was given, escaped; in quotes if one would not see where it begins or ends."""
    shown = printable(text)
    return f'"{shown}"' if not text or " " in text else shown


class _Refusal(Exception):  # noqa: N818 - it is a value until `_parsed` says it
    """What is expected instead, texts that may be meant, how many of them to show, and the wrong part."""

    def __init__(self, what: str, meant: Iterable[str], hints: int = 1, part: str = "") -> None:
        super().__init__(f"{part} is not {what}" if part else f"not {what}")
        self.meant = meant
        self.hints = hints


def _parsed(option: str, text: str, parse: Callable[[str], T]) -> T:
    """The parsed text. Raises `ConfigError` with a text that would be accepted."""
    try:
        return parse(text)
    except _Refusal as refused:
        accepted = [one for one in refused.meant if _is_accepted(parse, one)][: refused.hints]
        shown = " or ".join(f'"{printable(one)}"' for one in accepted)
        hint = f"; write {shown}" if shown else ""
        raise ConfigError(f"{option} {_shown(text)}: {refused}{hint}") from None


def _is_accepted(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except _Refusal:
        return False
    return True


def _plain_number(text: str) -> str | None:
    """A number that is written with separators or a prefix, as plain digits; None if it is none."""
    bare = re.sub(r"[_,' ]", "", text)
    found = re.fullmatch(rf"({_NUMBER}(?:[eE]\+?\d{{1,2}})?)([kKM]?)", bare, re.ASCII)
    return f"{float(found[1]) * _PREFIXES.get(found[2], 1):.15g}" if found else None


def _meant_rates(source: str, text: str) -> list[str]:
    head = f"{source}=" if source else ""
    bare = text.strip()
    if percent := re.fullmatch(rf"([+-]?)({_NUMBER})\s?%", bare, re.ASCII):
        share = float(percent[2]) / 100
        factor = 1 + share if percent[1] == "+" else 1 - share if percent[1] else share
        return [f"{head}×{factor:g}"]
    number, slash, unit = bare.removeprefix("+").partition("/")
    if not slash:
        number, _, unit = number.partition(" per ")
    plain, unit = _plain_number(number), unit.strip().lower()
    if plain is None:
        return []
    unit = _MEANT_UNITS.get(unit, unit)
    if unit:
        return [f"{head}{plain}/{unit}"]
    return [f"{head}{plain}/s", f"{head}×{plain}"]


def _known(option: str, kind: str, name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        raise ConfigError(
            f"{option}: there is no {kind} {printable(name)}{did_you_mean(name, known)}; there are"
            f" {_listed(known)}"
        )


def _in_time(option: str, at_s: float, for_s: float) -> None:
    if at_s >= for_s:
        raise ConfigError(f"{option} begins at second {at_s:g}, when the scenario is over (--for {for_s:g}s)")


def _listed(names: Iterable[str]) -> str:
    return listed(map(printable, names))


def _rate_words(change: RateChange) -> str:
    amount = f"×{change.factor:g}" if change.factor is not None else f"{change.per_s:,.6g} frames/s"
    return f"the rate{_of(change.source)} {'' if change.factor is not None else 'at '}{amount}"


def _of(source: str | None) -> str:
    return f" of {source}" if source else ""


def _at(at_s: float) -> str:
    return f" from second {at_s:g}" if at_s else ""


def _span(seconds: float) -> str:
    for unit, of_s in (("h", 3600.0), ("min", 60.0)):
        if seconds >= of_s and seconds % of_s == 0:
            return f"{seconds / of_s:g} {unit}"
    return f"{seconds:g} s"
