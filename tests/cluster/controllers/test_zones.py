"""How fast silent nodes lose their pods."""

from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.controllers.zones import LOOK_AGAIN_SECONDS, Pace, Zones, zone_of


def zones(well, ill, zone="a", into=None):
    found = into or Zones(Pace())
    for number in range(well + ill):
        found.note(f"{zone}{number}", zone, well=number >= ill)
    return found


def test_in_a_healthy_zone_one_node_in_ten_seconds():
    asked = zones(well=8, ill=2)
    assert asked.wait("a0", 100.0) == 0
    assert asked.wait("a1", 100.0) == 10
    assert asked.wait("a1", 104.0) == 6
    assert asked.wait("a0", 104.0) == 0, "its turn lasts"
    assert asked.wait("a1", 110.0) == 0


def test_a_zone_that_is_mostly_silent_is_left_alone_if_small_and_emptied_slowly_if_large():
    assert zones(well=3, ill=7).wait("a0", 0.0) == LOOK_AGAIN_SECONDS
    large = zones(well=40, ill=60)
    assert large.wait("a0", 0.0) == 0
    assert large.wait("a1", 50.0) == 50


def test_nobody_leaves_while_everything_is_silent():
    alone = zones(well=0, ill=3)
    assert alone.everything_down
    assert alone.wait("a0", 0.0) == LOOK_AGAIN_SECONDS
    two = zones(well=5, ill=0, zone="b", into=alone)
    assert two.wait("a0", 0.0) == 0, "one zone is down, the others are well: it is that zone"


def test_a_node_that_was_well_in_between_waits_anew():
    asked = zones(well=8, ill=2)
    assert asked.wait("a0", 0.0) == 0
    asked.note("a0", "a", well=True)
    asked.note("a0", "a", well=False)
    assert asked.wait("a0", 1.0) == 9


def test_zones_are_of_regions():
    labels = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"}
    assert zone_of(labels) == "r:z"
    assert zone_of({}) == ":"


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.sampled_from([True, False, None])), max_size=40))
def test_counts_stay_true_whatever_happens(steps):
    asked, truth = Zones(Pace()), {}
    for number, zone, well in steps:
        name = f"n{number}"
        if well is None:
            asked.forget(name)
            truth.pop(name, None)
        else:
            asked.note(name, zone, well=well)
            truth[name] = (zone, well)
        assert asked.everything_down == (not any(well for _, well in truth.values()))
