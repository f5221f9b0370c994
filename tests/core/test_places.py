import pytest

from streamd.core.errors import Place
from streamd.core.places import is_held


@pytest.mark.parametrize(
    ("place", "other", "held"),
    [
        (("tcp", "127.0.0.1:514"), ("tcp", "127.0.0.1:514"), True),
        (("tcp", "127.0.0.1:514"), ("udp", "127.0.0.1:514"), False),
        (("tcp", "127.0.0.1:514"), ("tcp", "127.0.0.1:515"), False),
        (("tcp", "127.0.0.1:514"), ("tcp", "127.0.0.2:514"), False),
        (("udp", "0.0.0.0:514"), ("udp", "127.0.0.1:514"), True),
        (("udp", "127.0.0.1:514"), ("udp", "[::]:514"), True),
        (("udp", "0.0.0.0:514"), ("udp", "127.0.0.1:515"), False),
        (("file", "/a"), ("file", "/a"), True),
        (("file", "/a"), ("database", "/a"), False),
        (("unix", "/a"), ("unix", "/b"), False),
    ],
)
def test_a_place_is_held_by_its_own_kind_and_an_address_also_by_one_that_means_all(
    place: Place, other: Place, held: bool
) -> None:
    assert is_held(place, [("unix", "/elsewhere"), other]) == held
    assert not is_held(place, [])
