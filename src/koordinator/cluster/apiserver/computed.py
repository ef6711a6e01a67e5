"""Resources that are answered, not stored: access reviews and what ``kubectl top`` reads."""

from koordinator.cluster.apiserver.calls import Answer, Call
from koordinator.cluster.apiserver.kinds.base import Rules


class ComputedRules(Rules):
    """A kind without objects in the store."""

    def answer(self, call: Call) -> Answer:
        """Answer a request whose verb the kind has. Raises: Refused."""
        raise NotImplementedError
