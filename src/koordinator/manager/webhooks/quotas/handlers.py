"""The two ElasticQuota webhooks: decode, fill or judge, answer."""

from collections.abc import Callable
from typing import Any

import msgspec

from koordinator.api.quota import ElasticQuota
from koordinator.api.registry import ELASTIC_QUOTAS
from koordinator.kube.patches import json_diff
from koordinator.manager.webhooks.admission import ALLOWED, Answer, Request, denied
from koordinator.manager.webhooks.quotas.rules import Rules
from koordinator.manager.webhooks.quotas.topology import Topology, fill_defaults


class QuotaWebhooks:
    """``mutate`` and ``validate`` answer one AdmissionReview request each."""

    def __init__(self, topology: Topology, rules: Rules) -> None:
        self._topology, self._rules = topology, rules

    async def mutate(self, request: Request) -> Answer:
        if not _concerns_quotas(request) or request.operation != "CREATE":
            return ALLOWED
        try:
            before, body = (msgspec.json.decode(request.object, type=dict[str, Any]) for _ in range(2))
            one = msgspec.convert(body, ElasticQuota)
        except msgspec.MsgspecError as err:
            return denied(400, f"elasticquota {request.namespace}/{request.name} cannot be read: {err}")
        try:
            fill_defaults(self._topology, body, one)
        except ValueError as err:
            return denied(400, str(err))
        return Answer(patch=json_diff(before, body))

    async def validate(self, request: Request) -> Answer:
        judge = self._judges().get(request.operation)
        if not _concerns_quotas(request) or judge is None or (request.operation == "DELETE" and not request.has_old_object):
            return ALLOWED
        try:
            new = msgspec.json.decode(request.object, type=ElasticQuota) if request.has_object else ElasticQuota()
            old = msgspec.json.decode(request.old_object, type=ElasticQuota) if request.has_old_object else ElasticQuota()
        except msgspec.MsgspecError as err:
            return denied(400, f"elasticquota {request.namespace}/{request.name} cannot be read: {err}")
        try:
            judge(new, old)
        except ValueError as err:
            return denied(400, str(err))
        return ALLOWED

    def _judges(self) -> dict[str, Callable[[ElasticQuota, ElasticQuota], None]]:
        return {
            "CREATE": lambda new, _: self._rules.create(new),
            "UPDATE": self._rules.update,
            "DELETE": lambda _, old: self._rules.delete(old.name),
        }


def _concerns_quotas(request: Request) -> bool:
    return request.concerns("elasticquotas", ELASTIC_QUOTAS.group)
