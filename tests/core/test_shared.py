from streamd.core.shared import Shared


class Pool:
    """Something that is made once."""


def test_every_component_that_asks_gets_the_same_object() -> None:
    shared = Shared()
    assert shared(Pool) is shared(Pool)
    assert shared(Pool) is not Shared()(Pool)


def test_what_is_there_already_is_not_made_again() -> None:
    pool = Pool()
    assert Shared(pool, "something else")(Pool) is pool
