"""Devices against a plain oracle, and the promise that none is ever given away twice."""

import asyncio
import itertools

import hypothesis.strategies as st
import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from koordinator.api.registry import RESOURCE_CLAIMS
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.plugins.dynamic_resources.asks import Refused, read
from koordinator.scheduler.plugins.dynamic_resources.search import Search
from koordinator.scheduler.plugins.dynamic_resources.stock import DeviceId
from scheduler import builders
from scheduler import devices as d
from scheduler.devices import DRIVER, World

MODELS = ("A", "B")
COUNTERS = [{"name": "set", "counters": {"memory": {"value": "8"}}}]


def of_model(model):
    return f'device.attributes["{DRIVER}"].model == "{model}"'


CLASSES = {"gpu": None, "A": "A", "B": "B"}

kinds = st.tuples(st.sampled_from(MODELS), st.integers(0, 1), st.sampled_from([0, 0, 3, 4]))
requests = st.tuples(st.sampled_from(list(CLASSES)), st.sampled_from([1, 1, 2, "All"]), st.booleans())
constraints = st.sampled_from([None, None, "match", "distinct"])
claims = st.tuples(st.lists(requests, min_size=1, max_size=2), constraints)


def device(place, kind):
    model, numa, memory = kind
    return d.device(f"d{place}", model=model, numa=numa, counters={"memory": memory} if memory else None)


def claim_of(name, wish):
    asked, constraint = wish
    made = []
    for place, (class_, count, admin) in enumerate(asked):
        amount = {"allocationMode": "All"} if count == "All" else {"count": count}
        made.append(d.exactly(f"r{place}", class_, **amount, adminAccess=admin))
    attribute = {"match": "matchAttribute", "distinct": "distinctAttribute"}.get(constraint)
    return d.claim(name, *made, constraints=[{attribute: f"{DRIVER}/numa"}] if attribute else [])


# --- the oracle: every way to give devices to requests, in order ------------------------------------------------------------


def ways(kinds_, taken, wishes):
    """Every choice of devices per request that all rules allow, the first of the search's order first."""
    steps = [(number, *request) for number, (asked, _) in enumerate(wishes) for request in asked]
    options = []
    for _, class_, count, _ in steps:
        fitting = [place for place, kind in enumerate(kinds_) if CLASSES[class_] in (None, kind[0])]
        if count == "All":
            options.append([tuple(fitting)] if fitting else [])
        else:
            options.append(list(itertools.combinations(fitting, count)))
    for choice in itertools.product(*options):
        if allowed(kinds_, taken, wishes, list(zip(steps, choice, strict=True))):
            yield choice


def allowed(kinds_, taken, wishes, chosen):
    seen = []
    memory = 8 - sum(kinds_[place][2] for place in taken)
    for (number, _, _, admin), places in chosen:
        for place in places:
            if admin and (number, place) in seen:
                return False
            if not admin and (place in taken or any(place == other for _, other in seen)):
                return False
            seen.append((number, place))
            memory -= kinds_[place][2]
            if kinds_[place][2] and memory < 0:
                return False
    for number, (_, constraint) in enumerate(wishes):
        values = [kinds_[place][1] for owner, place in seen if owner == number]
        if constraint == "match" and len(set(values)) > 1:
            return False
        if constraint == "distinct" and len(set(values)) < len(values):
            return False
    return True


@settings(max_examples=400)
@given(
    kinds_=st.lists(kinds, min_size=1, max_size=6),
    taken=st.sets(st.integers(0, 5), max_size=2),
    wishes=st.lists(claims, min_size=1, max_size=2),
)
def test_the_search_finds_what_trying_everything_finds_first(kinds_, taken, wishes):
    taken = {place for place in taken if place < len(kinds_)}
    here = World("n1")
    here.tell(*(d.class_(name, *([of_model(model)] if model else [])) for name, model in CLASSES.items()))
    here.tell(d.slice_("n1", [device(place, kind) for place, kind in enumerate(kinds_)], sharedCounters=COUNTERS))
    for place in taken:
        result = {"request": "r", "driver": DRIVER, "pool": "n1", "device": f"d{place}"}
        here.tell(d.claim(f"taken{place}", d.exactly(), allocation={"devices": {"results": [result]}}))
    asks = [read(claim_of(f"c{number}", wish), here.stock.classes.get) for number, wish in enumerate(wishes)]
    expected = next(ways(kinds_, taken, wishes), None)
    try:
        found = Search(here.stock, 0, asks).run()
    except Refused:
        assert expected is None
        return
    assert expected is not None
    places = [int(pick.offer.device.name[1:]) for picks in found for pick in picks]
    assert places == [place for chosen in expected for place in chosen]


# --- verdicts that are kept equal fresh ones --------------------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 5), st.integers(0, 2)),
    st.tuples(st.just("release"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("slice"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("gone"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("label"), st.integers(0, 2), st.integers(0, 1)),
    st.tuples(st.just("class"), st.integers(0, 1), st.just(0)),
)


@settings(max_examples=150)
@given(st.lists(steps, max_size=12))
def test_verdicts_follow_every_change(moves):
    here = World("n0", "n1", "n2")
    here.tell(d.class_("gpu"))
    wide = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1"]}]}]}
    shapes = [("n0", {}), ("n1", {}), ("", {"allNodes": True}), ("", {"nodeSelector": wide})]
    claims_ = [d.claim(f"c{place}", d.exactly(count=1 + place % 2)) for place in range(6)]
    here.tell(*claims_)
    states, slices = {}, {}
    for generation, (what, first, second) in enumerate(moves, 1):
        if what == "reserve" and first not in states:
            state = here.reserve(d.pod(f"c{first}"), f"n{second}")
            if not isinstance(state, str):
                states[first] = state
        elif what == "release" and first in states:
            here.plugin.unreserve(states.pop(first), here.reader.read(d.pod(f"c{first}")), "")
        elif what == "slice":
            node, spec = shapes[first]
            made = [d.device(f"d{place}") for place in range(second)]
            slices[first] = d.slice_(node, made, pool=node or f"p{first}", generation=generation, **spec)
            here.tell(slices[first])
        elif what == "gone" and first in slices:
            here.stock.slices.object_deleted(slices.pop(first))
        elif what == "label":
            here.cluster.set_node(builders.node(f"n{first}", labels={"zone": f"z{second}"}))
        elif what == "class":
            here.tell(d.class_("gpu", *(["false"] if first else [])))
        for place in range(6):
            pod = d.pod(f"c{place}")
            assert verdict(here, here.evaluator, pod) == verdict(here, Evaluator(here.profile, here.cluster.columns), pod)


def verdict(here, evaluator, pod):
    found = evaluator.evaluate(here.reader.read(pod))
    if isinstance(found, Status):
        return found.message
    return np.flatnonzero(found.feasible[: here.cluster.columns.size]).tolist()


# --- never twice ------------------------------------------------------------------------------------------------------------


class NeverTwice(RuleBasedStateMachine):
    """Pods are placed, written, given up and forgotten; the scheduler hears of it late. The truth is in the store."""

    @initialize()
    def start(self):
        self.loop = asyncio.new_event_loop()
        self.here = World("n1", "n2")
        self.here.tell(d.class_("gpu"), d.class_("watch"))
        self.pods, self.late, self.states, self.numbers = {}, [], {}, itertools.count()
        self.here.tell(d.slice_("n1", [d.device("d0"), d.device("d1")]))
        self.here.tell(d.slice_(pool="wide", devices=[d.device("w")], allNodes=True))
        for _ in range(3):
            self.a_pod_comes(count=1)

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.close()

    def run(self, work):
        return self.loop.run_until_complete(self.here.passing(work))

    def pod_of(self, name):
        return self.here.reader.read(self.pods[name])

    @precondition(lambda self: len(self.pods) < 5)
    @rule(count=st.integers(1, 2))
    def a_pod_comes(self, count):
        name = f"c{next(self.numbers)}"
        (claim,) = self.run(self.here.stored(d.claim(name, d.exactly(count=count))))
        self.pods[name] = d.pod(claim.name)

    @rule(pick=st.integers(0, 3), node=st.sampled_from(["n1", "n1", "n2"]))
    def it_is_placed(self, pick, node):
        free = [name for name in self.names() if name not in self.states]
        if free:
            name = free[pick % len(free)]
            state = {}
            if self.here.plugin.reserve(state, self.pod_of(name), node) is None and state:
                self.states[name] = (state, node)

    @rule(pick=st.integers(0, 3))
    def it_is_written(self, pick):
        unwritten = sorted(name for name, (state, _) in self.states.items() if "written" not in state)
        if unwritten:
            name = unwritten[pick % len(unwritten)]
            state, node = self.states[name]
            state["written"] = True
            self.run(self.here.plugin.pre_bind(state, self.pod_of(name), node))
            self.note(name)

    @rule(pick=st.integers(0, 3))
    def it_is_given_up(self, pick):
        if self.states:
            name = sorted(self.states)[pick % len(self.states)]
            state, node = self.states.pop(name)
            self.here.plugin.unreserve(state, self.pod_of(name), node)

    @rule(pick=st.integers(0, 3))
    def its_claim_gives_devices_back(self, pick):
        held = [claim for claim in self.stored() if claim.status.allocation is not None]
        if held:
            claim = held[pick % len(held)]
            body = {"status": {"allocation": None, "reservedFor": None}}
            self.run(self.here.store.patch(RESOURCE_CLAIMS, claim.name, body, "default", subresource="status"))
            self.note(claim.name)

    @rule(pick=st.integers(0, 3))
    def somebody_labels_the_claim_of_a_placed_pod(self, pick):
        if not self.states:
            return
        name = sorted(self.states)[pick % len(self.states)]
        body = {"metadata": {"labels": {"number": str(next(self.numbers))}}}
        self.run(self.here.store.patch(RESOURCE_CLAIMS, name, body, "default"))
        self.note(name)

    @rule(count=st.integers(1, 4))
    def the_scheduler_hears(self, count):
        self.here.tell(*self.late[:count])
        del self.late[:count]

    @rule()
    def the_watch_has_a_gap(self):
        self.late = self.stored()

    @rule(count=st.integers(0, 3))
    def a_driver_publishes(self, count):
        devices = [d.device(f"d{place}") for place in range(count)]
        self.here.tell(d.slice_("n1", devices, generation=2 + next(self.numbers)))

    def names(self):
        return [claim.name for claim in self.stored() if claim.name in self.pods]

    def stored(self):
        return self.loop.run_until_complete(self.here.store.list(RESOURCE_CLAIMS, "default")).items

    def note(self, name):
        self.late.append(self.loop.run_until_complete(self.here.store.get(RESOURCE_CLAIMS, name, "default")))

    @invariant()
    def no_device_is_kept_for_nothing(self):
        """Who has devices is being placed, or has been seen with them, or is about to be heard of."""
        if not hasattr(self, "here"):
            return
        placed = {self.here.stock.claims.get(f"default/{name}").metadata.uid for name in self.states}
        seen = {claim.metadata.uid for claim in self.here.stock.claims.items.values() if claim.status.allocation is not None}
        heard = {claim.metadata.uid for claim in self.late}
        assert set().union(*self.here.stock.users.values()) <= placed | seen | heard

    @invariant()
    def what_was_decided_or_written_is_taken(self):
        if not hasattr(self, "here"):
            return
        found = [(claim.metadata.uid, msgspec.to_builtins(claim.status.allocation)) for claim in self.stored()]
        for state, _ in self.states.values():
            if "written" not in state:
                found += state["DynamicResources/decided"].allocations.items()
        for uid, allocation in found:
            for one in allocation["devices"]["results"] if allocation else ():
                assert uid in self.here.stock.users[DeviceId(one["driver"], one["pool"], one["device"])]

    @invariant()
    def no_device_has_two_claims(self):
        if not hasattr(self, "here"):
            return
        written = [
            (result.driver, result.pool, result.device)
            for claim in self.stored()
            if claim.status.allocation is not None
            for result in claim.status.allocation.devices.results
        ]
        assert len(written) == len(set(written))
        assert all(len(users) == 1 for users in self.here.stock.users.values())


NeverTwice.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestNeverTwice = NeverTwice.TestCase
