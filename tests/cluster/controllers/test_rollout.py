import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.controllers.rollout import Bounds, Size, bounds, scale_down, scale_up, scaled


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        pytest.param(3, None, None, Bounds(3, 1, 0), id="default-quarter"),
        pytest.param(10, "30%", "25%", Bounds(10, 3, 2), id="percent"),
        pytest.param(4, 0, 0, Bounds(4, 0, 1), id="both-zero-could-never-move"),
        pytest.param(2, 1, 5, Bounds(2, 1, 2), id="not-more-than-all"),
        pytest.param(0, "25%", "25%", Bounds(0, 0, 0), id="nothing-wanted"),
    ],
)
def test_bounds(replicas, surge, unavailable, expected):
    assert bounds(replicas, surge, unavailable) == expected


@pytest.mark.parametrize("value", ["a", "10", "-5%", "%", -1, "1.5%"])
def test_a_bad_bound_names_its_field(value):
    with pytest.raises(ValueError, match="maxSurge: "):
        bounds(3, value, 0)


def test_percentages_round_in_the_safe_direction():
    assert scaled("25%", 3, up=True) == 1
    assert scaled("25%", 3, up=False) == 0


def test_the_new_set_waits_for_places_that_the_old_pods_still_hold():
    limits = Bounds(3, 1, 0)
    assert scale_up(Size(0, 0, 0), [Size(3, 3, 3)], limits) == 1
    assert scale_up(Size(1, 1, 1), [Size(2, 3, 3)], limits) == 1  # told 2, but the third is still there
    assert scale_up(Size(1, 1, 1), [Size(2, 2, 2)], limits) == 2


def test_old_sets_shrink_only_as_new_pods_become_available():
    limits = Bounds(3, 1, 0)
    assert scale_down(Size(1, 1, 0), [Size(3, 3, 3)], limits) == [3]
    assert scale_down(Size(1, 1, 1), [Size(3, 3, 3)], limits) == [2]


def test_broken_old_pods_go_first():
    assert scale_down(Size(1, 1, 1), [Size(2, 2, 0), Size(2, 2, 2)], Bounds(3, 1, 1)) == [0, 1]


sizes = st.builds(
    lambda spec, actual, available: Size(spec, actual, min(actual, available)),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(0, 20),
)
limits = st.builds(
    bounds,
    st.integers(0, 20),
    st.integers(0, 5),
    st.integers(0, 5),
)


@given(new=sizes, old=st.lists(sizes, max_size=4), limits=limits)
def test_scaling_up_stays_within_the_surge(new, old, limits):
    target = scale_up(new, old, limits)
    present = max(new.actual, target) + sum(max(size.spec, size.actual) for size in old)
    assert target <= max(new.spec, limits.replicas)
    assert target <= new.spec or present <= limits.replicas + limits.surge


@given(new=sizes, old=st.lists(sizes, max_size=4), limits=limits)
def test_scaling_down_never_takes_an_available_pod_below_the_floor(new, old, limits):
    told = scale_down(new, old, limits)
    assert all(0 <= after <= before.spec for after, before in zip(told, old, strict=True))
    before = new.available + sum(min(size.available, size.spec) for size in old)
    after = new.available + sum(min(size.available, target) for size, target in zip(old, told, strict=True))
    assert after == before or after >= limits.replicas - limits.unavailable


@given(replicas=st.integers(0, 12), surge=st.integers(0, 4), unavailable=st.integers(0, 4), start=st.integers(0, 12))
def test_a_rollout_comes_to_an_end(replicas, surge, unavailable, start):
    limits = bounds(replicas, surge, unavailable)
    new, old = 0, [start]
    for _ in range(100):
        target = scale_up(Size(new, new, new), [Size(count, count, count) for count in old], limits)
        old = scale_down(Size(new, new, new), [Size(count, count, count) for count in old], limits)
        new = target
    assert (new, old) == (replicas, [0])
