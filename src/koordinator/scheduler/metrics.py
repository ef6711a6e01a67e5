"""What the scheduler counts: plain numbers on the hot path. ``collector`` gives them Prometheus' form when somebody scrapes."""

from koordinator.kube.metrics import Histogram

ATTEMPT_BUCKETS = tuple(0.001 * 2.0**power for power in range(15))
SLI_BUCKETS = tuple(0.01 * 2.0**power for power in range(20))
ATTEMPTS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0)
NODES_BUCKETS = tuple(2.0**power for power in range(24))
VICTIMS_BUCKETS = tuple(2.0**power for power in range(7))

Labels = tuple[str, ...]


def job_size(pods: int) -> str:
    """The label of a job's size: by the hundred, up to a thousand."""
    if pods <= 0:
        return "0"
    first = (pods - 1) // 100 * 100 + 1
    return f"{first}-{first + 99}" if pods <= 1000 else "1000+"


class Metrics:
    """What is counted while scheduling."""

    def __init__(self) -> None:
        self.attempts: dict[Labels, int] = {}
        self.attempt_duration = Histogram(ATTEMPT_BUCKETS)
        self.algorithm_duration = Histogram(ATTEMPT_BUCKETS)
        self.sli_duration = Histogram(SLI_BUCKETS)
        self.attempts_per_pod = Histogram(ATTEMPTS_BUCKETS)
        self.evaluated_nodes = Histogram(NODES_BUCKETS)
        self.feasible_nodes = Histogram(NODES_BUCKETS)
        self.permit_wait = Histogram(ATTEMPT_BUCKETS)
        self.victims = Histogram(VICTIMS_BUCKETS)

    def attempt(self, profile: str, result: str, seconds: float) -> None:
        labels = (profile, result)
        self.attempts[labels] = self.attempts.get(labels, 0) + 1
        self.attempt_duration.observe(labels, seconds)

    def chosen(self, profile: str, seconds: float, evaluated: int, feasible: int) -> None:
        """A node was found, after looking at so many."""
        self.algorithm_duration.observe((profile,), seconds)
        self.evaluated_nodes.observe((), evaluated)
        self.feasible_nodes.observe((), feasible)

    def bound(self, attempts: int, seconds: float) -> None:
        self.sli_duration.observe((str(min(attempts, 16)),), seconds)
        self.attempts_per_pod.observe((), attempts)

    def reset(self) -> None:
        """Begin anew: ``DELETE /metrics``."""
        self.__init__()  # type: ignore[misc] # every field has its first value there
