"""What events mean: readable rules, and the machine against a plain reading of the whole history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.scheduler.auditor.story import Effect, Kind, Metric, Story, Thresholds, after, breaches

SECOND_CHANCE = (Kind.NOMINATED, Kind.PREEMPT_FAILURE, Kind.SCHEDULE_FAILURE)


def play(*events):
    """Events as (time, kind). Returns the story and the effects of each."""
    story, effects = Story(), []
    for now, kind in events:
        story, news = after(story, kind, now)
        effects.append({effect.metric: effect.value for effect in news})
    return story, effects


def last(*events):
    return play(*events)[1][-1]


def test_a_creation_is_counted_and_nothing_else():
    story, effects = play((1, Kind.CREATE))
    assert (story.counts, effects) == ({Kind.CREATE: 1}, [{}])
    assert story.last_event_at is None


def test_the_second_preemption_is_a_repeated_one_and_shows_that_the_first_was_in_vain():
    assert last((1, Kind.NOMINATED), (5, Kind.NOMINATED)) == {
        Metric.REPEATED: 1,
        Metric.INVALIDATED: 1,
        Metric.INTERRUPTED: 4,
        Metric.LEAVING_RETRIES: 0,
        Metric.INTERVAL: 4,
    }


@pytest.mark.parametrize("failure", [Kind.PREEMPT_FAILURE, Kind.SCHEDULE_FAILURE])
def test_a_nomination_is_invalidated_once(failure):
    story, effects = play((1, Kind.NOMINATED), (2, Kind.VICTIMS_GONE), (3, failure), (4, failure))
    assert [Metric.INVALIDATED in one for one in effects] == [False, False, True, False]
    assert not story.standing


def test_a_preemption_that_works():
    _, effects = play(
        (0, Kind.CREATE),
        (1, Kind.NOMINATED),
        (2, Kind.VICTIMS_LEAVING),
        (4, Kind.VICTIMS_LEAVING),
        (7, Kind.VICTIMS_GONE),
        (9, Kind.SCHEDULED),
    )
    assert effects[4] == {Metric.VICTIMS_GONE: 6, Metric.LEAVING_RETRIES: 2}
    assert effects[5] == {Metric.RESCHEDULE: 2, Metric.INTERVAL: 5}


def test_gating_ends_the_round_and_cancels_the_wait_for_the_next_attempt():
    _, effects = play((1, Kind.NOMINATED), (2, Kind.VICTIMS_GONE), (3, Kind.GATED), (100, Kind.ADMITTED), (101, Kind.SCHEDULED))
    assert effects[2:] == [{}, {}, {Metric.INTERVAL: 1}]


def test_a_gang_with_enough_members_begins_its_round():
    _, effects = play((0, Kind.CREATE), (10, Kind.MIN_MEMBER), (12, Kind.ALL_ATTEMPTED))
    assert effects == [{}, {}, {Metric.INTERVAL: 2}]


def alerts(*events, **limits):
    story, _ = play(*events[:-1])
    now, kind = events[-1]
    story, effects = after(story, kind, now)
    return breaches(story, kind, effects, Thresholds(**limits))


def test_alerts_name_what_was_measured_and_its_threshold():
    gone = (7, Kind.VICTIMS_GONE)
    assert alerts((1, Kind.NOMINATED), gone) == []
    assert alerts((1, Kind.NOMINATED), gone, victim_deletion=5) == ["the victims took long to go: 6.0s, threshold 5s"]
    late = alerts((1, Kind.NOMINATED), gone, (18, Kind.SCHEDULED), event_interval=5)
    assert late == [
        "the attempt after the last victim was gone came late: 11.0s, threshold 10s",
        "nothing happened for long: 17.0s, threshold 5s",
    ]
    leaving = [(now, Kind.VICTIMS_LEAVING) for now in range(2, 5)]
    assert alerts((1, Kind.NOMINATED), *leaving) == []
    assert alerts((1, Kind.NOMINATED), *leaving, (6, Kind.VICTIMS_LEAVING)) == [
        "attempts that found victims still leaving: 4, threshold 3"
    ]
    assert alerts((1, Kind.NOMINATED), (99999, Kind.VICTIMS_GONE), victim_deletion=0) == []


# -- the machine against history -----------------------------------------------------------------------------------------


def before(history, *kinds):
    """Index of the last event of one of these kinds, -1 for none."""
    return next((at for at in range(len(history) - 1, -1, -1) if history[at][1] in kinds), -1)


def expected(history, now, kind):
    """The effects of one more event, read off the whole history."""
    if kind is Kind.CREATE:
        return []
    found = []
    if kind is Kind.NOMINATED and before(history, Kind.NOMINATED) >= 0:
        found.append(Effect(Metric.REPEATED))
    latest = before(history, *SECOND_CHANCE)
    if kind in SECOND_CHANCE and latest >= 0 and history[latest][1] is Kind.NOMINATED:
        found.append(Effect(Metric.INVALIDATED))
    nominated = before(history, Kind.NOMINATED)
    ended = before(history, Kind.VICTIMS_GONE, Kind.PREEMPT_FAILURE, Kind.SCHEDULE_FAILURE, Kind.GATED, Kind.SCHEDULED)
    if nominated > ended and (kind is Kind.VICTIMS_GONE or kind in SECOND_CHANCE):
        metric = Metric.VICTIMS_GONE if kind is Kind.VICTIMS_GONE else Metric.INTERRUPTED
        retries = sum(one is Kind.VICTIMS_LEAVING for _, one in history[nominated:])
        found += [Effect(metric, now - history[nominated][0]), Effect(Metric.LEAVING_RETRIES, retries)]
    gone = before(history, Kind.VICTIMS_GONE)
    used = before(history, *SECOND_CHANCE, Kind.SCHEDULED, Kind.GATED)
    if gone > used and kind in (*SECOND_CHANCE, Kind.SCHEDULED):
        found.append(Effect(Metric.RESCHEDULE, now - history[gone][0]))
    timed = [one for one in history if one[1] not in (Kind.CREATE, Kind.VICTIMS_GONE)]
    silent = (Kind.GATED, Kind.ADMITTED, Kind.MIN_MEMBER, Kind.VICTIMS_GONE)
    if kind not in silent and timed and timed[-1][1] is not Kind.GATED:
        found.append(Effect(Metric.INTERVAL, now - timed[-1][0]))
    return found


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(Kind)), max_size=40))
def test_the_machine_says_what_the_whole_history_says(steps):
    story, history, now = Story(), [], 0
    for pause, kind in steps:
        now += pause
        story, effects = after(story, kind, now)
        assert effects == expected(history, now, kind)
        history.append((now, kind))
    assert sum(story.counts.values()) == len(history)
    assert all(effect.value >= 0 for at, (now, kind) in enumerate(history) for effect in expected(history[:at], now, kind))
