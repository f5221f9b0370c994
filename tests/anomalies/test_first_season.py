from math import isnan

import pytest

from streamd.anomalies.first_season import FirstSeason


def test_the_level_is_the_mean_of_the_buckets_and_the_profile_their_distance_from_it() -> None:
    season = FirstSeason(3)
    for bucket, value in ((0, 4.0), (0, 6.0), (0, 8.0), (2, 10.0)):
        season.add(bucket, value)
    level, (first, second, third) = season.level_and_profile()
    assert (level, first, third) == (8.0, -2.0, 2.0)
    assert isnan(second)


def test_a_stored_season_goes_on() -> None:
    season = FirstSeason(2)
    season.add(0, 4.0)
    other = FirstSeason.of_stored(season.stored(), 2)
    for one in (season, other):
        one.add(1, 6.0)
        one.add(0, 0.0)
    assert season.level_and_profile() == other.level_and_profile()
    with pytest.raises(ValueError, match="another number of buckets"):
        FirstSeason.of_stored(season.stored(), 3)
