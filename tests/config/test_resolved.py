"""Whatever is written out is read as it was."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.config import load
from streamd.config.resolved import resolved
from streamd.core.settings import parse_duration_s, parse_size_bytes

CONFIG = """
[schemas.reading]
"odd. name" = {{ type = "timestamp", unit = "ms" }}
value = {{ type = "float", ge = -1.5, required = false }}
[sources.{name}]
type = "tcp"
listen = "[::1]:0"
allow = ["10.0.0.0/8"]
schema = "reading"
framing = "nul"
max_frame = "{size}"
[pipelines.main]
sources = ["{name}"]
sinks = [{{ name = "kept" }}]
steps = [{{ type = "filter", where = "value > 1" }}]
[sinks.kept]
type = "sqlite"
schema = "reading"
batch.max_wait = "{wait}"
[sinks.catch]
type = "sqlite"
table = "catch"
"""


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 50_000),
    st.sampled_from(["B", "KiB", "kB"]),
    st.decimals(0, 10_000, places=3),
    st.sampled_from(["us", "ms", "s", "m", "d"]),
    st.from_regex(r"[a-z_]{1,9}", fullmatch=True),
)
def test_what_is_written_out_loads_as_the_same(
    number: int, size_unit: str, wait: object, wait_unit: str, name: str
) -> None:
    size, duration = f"{number}{size_unit}", f"{wait}{wait_unit}"
    with TemporaryDirectory() as folder:
        path = Path(folder) / "streamd.toml"
        path.write_text(CONFIG.format(name=name, size=size, wait=duration))
        before = load(path)
        text = resolved(before)
        path.write_text(text)
        after = load(path)
        assert resolved(after) == text
    assert after.config.sinks == before.config.sinks
    assert after.config.schemas == before.config.schemas
    source = after.config.sources[name]
    assert getattr(source, "max_frame") == parse_size_bytes(size)  # noqa: B009 - a key of this source only
    assert after.config.sinks["kept"].batch.max_wait == parse_duration_s(duration)
    assert source.model_dump(exclude={"codec", "framing"}) == before.config.sources[name].model_dump(
        exclude={"codec", "framing"}
    )
