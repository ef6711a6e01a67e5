"""Merging hints: texts and rules by example, everything else against the definition, which looks at every pick."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.scheduler.engine.hooks import Hint
from koordinator.scheduler.numa.hints import Zones, gathered, mask_of, text, zones_of
from koordinator.scheduler.numa.merge import merged

# --- the definition ------------------------------------------------------------------------------------------------------


def pick(hints, zones):
    everything = zones.mask
    masks = [hint.affinity for hint in hints if hint.affinity is not None]
    left = everything
    for mask in masks:
        left &= mask
    preferred = all(hint.preferred for hint in hints) and len(set(masks)) <= 1 and zones.allow(left)
    widest = max((mask.bit_count() for mask in masks), default=0)
    unsatisfied = any(hint.unsatisfied for hint in hints) or (bool(masks) and widest != left.bit_count())
    return Hint(left, preferred, sum(hint.score for hint in hints if hint.affinity == left), unsatisfied)


def narrower(one, other):
    return (one.bit_count(), one) < (other.bit_count(), other)


def best_of_all(lists, zones):
    best = Hint(zones.mask, preferred=False)
    for hints in itertools.product(*lists):
        found = pick(hints, zones)
        if not found.affinity or (best.preferred and not found.preferred):
            continue
        as_many = found.affinity.bit_count() == best.affinity.bit_count()
        higher = as_many and found.score > best.score
        if (found.preferred and not best.preferred) or narrower(found.affinity, best.affinity) or higher:
            best = found
    return best


def by_definition(policy, wishes, zones):
    """(admitted, hint)."""
    if policy == "BestEffort":
        best = best_of_all(wishes.lists, zones)
        return True, Hint(zones.mask, preferred=False) if best.unsatisfied else best
    if wishes.reasons:
        return False, None
    lists = wishes.lists
    if policy == "SingleNUMANode":
        lists = [[one for one in hints if one.preferred and one.affinity in (None, 1, 2, 4, 8)] for hints in lists]
    best = best_of_all(lists, zones)
    if policy == "SingleNUMANode" and best.affinity == zones.mask:
        best = best._replace(affinity=None)
    return best.preferred, best


# --- random nodes and wishes ---------------------------------------------------------------------------------------------


@st.composite
def cases(draw):
    count = draw(st.integers(1, 4))
    zones = Zones(
        tuple(range(count)),
        draw(st.sampled_from(["", "Preferred", "Required"])),
        tuple((zone, draw(st.sampled_from(["idle", "single", "shared"]))) for zone in range(count)),
    )
    hint = st.builds(
        Hint,
        affinity=st.one_of(st.none(), st.integers(1, 2**count - 1)),
        preferred=st.booleans(),
        score=st.sampled_from([0, 0, 5, 10]),
        unsatisfied=st.just(value=False),
    )
    hints = st.one_of(st.none(), st.lists(hint, max_size=5))
    provider = st.one_of(st.none(), st.dictionaries(st.sampled_from(["cpu", "memory", "gpu"]), hints, max_size=2))
    return zones, draw(st.lists(provider, max_size=3))


@pytest.mark.parametrize("policy", ["BestEffort", "Restricted", "SingleNUMANode"])
@given(case=cases())
def test_merging_is_what_the_definition_says(policy, case):
    zones, providers = case
    wishes = gathered(providers)
    admitted, hint = by_definition(policy, wishes, zones)
    answer = merged(policy, wishes, zones)
    assert answer.admitted == admitted
    assert bool(answer.reasons) == (not admitted)
    if admitted:
        assert answer.hint == hint


# --- examples ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (1, "01"),
        (2, "10"),
        (3, "11"),
        (4, "100"),
        (5, "0101"),
        (8, "1000"),
        (16, "10000"),
        (17, "010001"),
        (None, "<nil>"),
    ],
)
def test_masks_are_written_as_the_kubelet_does(mask, expected):
    assert text(mask) == expected


def test_zones_and_masks():
    assert mask_of([0, 2]) == 5
    assert zones_of(5) == [0, 2]


def test_no_policy_admits_everybody_and_names_no_zones():
    assert merged("", gathered([{"cpu": []}]), Zones((0, 1))) == (Hint(preferred=False), True, ())


def test_a_pod_that_no_zones_will_do_for_is_told_which_resource_it_was():
    answer = merged("Restricted", gathered([{"cpu": [], "memory": [Hint(1)]}, {"gpu": []}]), Zones((0, 1)))
    assert answer.reasons == ("Unsatisfied NUMA cpu", "Unsatisfied NUMA gpu")


def every_mask(zones, preferred_bits, scored):
    return [Hint(mask, mask.bit_count() == preferred_bits, (mask * scored) % 97) for mask in range(1, 2**zones)]


@pytest.mark.parametrize("policy", ["BestEffort", "Restricted", "SingleNUMANode"])
def test_billions_of_picks_take_a_moment(policy):
    """Eight zones, six resources that could have any of them and prefer as many zones as no other does: 2.7e14 picks."""
    wishes = gathered([{f"r{bits}": every_mask(8, bits, 31 + bits) for bits in range(1, 7)}])
    began = time.process_time()
    answer = merged(policy, wishes, Zones(tuple(range(8))))
    assert time.process_time() - began < 20
    assert answer.admitted == (policy == "BestEffort")
