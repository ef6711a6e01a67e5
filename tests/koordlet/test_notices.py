import logging

from koordinator.koordlet.notices import Notices
from koordlet.trees import pod


class Events:
    def __init__(self):
        self.seen = []

    def event(self, obj, type_, reason, message):
        self.seen.append((obj.name, type_, reason, message))


def test_a_thing_is_said_once_until_it_changes_or_is_over(caplog):
    caplog.set_level("INFO")
    events = Events()
    notices = Notices(logging.getLogger("notices"), events)
    for message in ("bad", "bad", "worse", "worse"):
        notices.say("key", message, pod(), "Reason")
    notices.over("key", "good again")
    notices.over("key", "good again")
    notices.say("key", "bad", pod(), "Reason")
    assert [record.message for record in caplog.records] == ["bad", "worse", "good again", "bad"]
    assert events.seen == [("batch", "Warning", "Reason", message) for message in ("bad", "worse", "bad")]
