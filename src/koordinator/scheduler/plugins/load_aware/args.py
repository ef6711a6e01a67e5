"""LoadAwareScheduling's arguments: wire form, defaults, rules."""

import msgspec

from koordinator.api import durations
from koordinator.api.meta import Struct
from koordinator.errors import ConfigInvalid

Percents = dict[str, int]
AGGREGATIONS = ("avg", "p50", "p90", "p95", "p99")
DEFAULT_ESTIMATOR = "defaultEstimator"
_EFFECT = "the scheduler does not start"


class Aggregated(Struct):
    """Use a percentile over a period in place of the latest usage."""

    usage_thresholds: Percents | None = None
    usage_aggregation_type: str = ""
    usage_aggregated_duration: str = "0s"
    score_aggregation_type: str = ""
    score_aggregated_duration: str = "0s"


class LoadAwareArgs(Struct):
    filter_expired_node_metrics: bool | None = None
    node_metric_expiration_seconds: int | None = None
    enable_schedule_when_node_metrics_expired: bool | None = None
    resource_weights: dict[str, int] | None = None
    dominant_resource_weight: int = 0
    usage_thresholds: Percents | None = None
    prod_usage_thresholds: Percents | None = None
    prod_usage_include_sys: bool = False
    score_according_prod_usage: bool = False
    estimator: str = ""
    estimated_scaling_factors: Percents | None = None
    estimated_seconds_after_pod_scheduled: int | None = None
    estimated_seconds_after_initialized: int | None = None
    allow_customize_estimation: bool = False
    aggregated: Aggregated | None = None
    supported_resources: list[str] | None = None


def defaulted(args: LoadAwareArgs) -> LoadAwareArgs:
    """A copy with every default in place. A map that the user gave replaces the default map as a whole."""
    weights = args.resource_weights or ({} if args.dominant_resource_weight else {"cpu": 1, "memory": 1})
    expiration = args.node_metric_expiration_seconds
    return msgspec.structs.replace(
        args,
        filter_expired_node_metrics=args.filter_expired_node_metrics is not False,
        node_metric_expiration_seconds=180 if expiration is None else expiration,
        enable_schedule_when_node_metrics_expired=bool(args.enable_schedule_when_node_metrics_expired),
        resource_weights=weights,
        usage_thresholds=args.usage_thresholds or {"cpu": 65, "memory": 95},
        prod_usage_thresholds=args.prod_usage_thresholds or {},
        estimator=args.estimator or DEFAULT_ESTIMATOR,
        estimated_scaling_factors={"cpu": 85, "memory": 70} | (args.estimated_scaling_factors or {}),
    )


def checked(args: LoadAwareArgs) -> LoadAwareArgs:
    """The defaulted arguments themselves. Raises ConfigInvalid naming the first field that breaks its rule."""
    expiration = args.node_metric_expiration_seconds
    _require(
        expiration is None or expiration > 0,
        "nodeMetricExpirationSeconds",
        expiration,
        "nodeMetricExpiredSeconds should be a positive value",
    )
    _between("resourceWeights", args.resource_weights, 1)
    _require(
        0 <= args.dominant_resource_weight <= 100, "dominantResourceWeight", args.dominant_resource_weight, "must be 0 to 100"
    )
    _between("usageThresholds", args.usage_thresholds, 0)
    _between("estimatedScalingFactors", args.estimated_scaling_factors, 1)
    for name in args.resource_weights or {}:
        known = name in (args.estimated_scaling_factors or {})
        _require(known, f"resourceWeights[{name}]", name, "must also be in estimatedScalingFactors")
    if args.aggregated is not None:
        _check_aggregated(args.aggregated)
    return args


def _check_aggregated(aggregated: Aggregated) -> None:
    _between("aggregated.usageThresholds", aggregated.usage_thresholds, 0)
    for field, kind in (
        ("usageAggregationType", aggregated.usage_aggregation_type),
        ("scoreAggregationType", aggregated.score_aggregation_type),
    ):
        _require(not kind or kind in AGGREGATIONS, f"aggregated.{field}", kind, f"must be one of {', '.join(AGGREGATIONS)}")
    for field, text in (
        ("usageAggregatedDuration", aggregated.usage_aggregated_duration),
        ("scoreAggregatedDuration", aggregated.score_aggregated_duration),
    ):
        try:
            sensible = durations.parse(text) >= 0
        except ValueError:
            sensible = False
        _require(sensible, f"aggregated.{field}", text, "must be a duration of 0 or more")


def _between(field: str, values: Percents | None, low: int) -> None:
    for name, value in (values or {}).items():
        _require(low <= value <= 100, f"{field}[{name}]", value, f"must be {low} to 100")


def _require(fine: bool, field: str, value: object, rule: str) -> None:
    if not fine:
        raise ConfigInvalid(f"LoadAwareSchedulingArgs.{field}", value, rule, _EFFECT)


def dimensions(args: LoadAwareArgs) -> tuple[str, ...]:
    """The resources that the plugin looks at, sorted. Others are ignored everywhere."""
    aggregated = (args.aggregated.usage_thresholds if args.aggregated is not None else None) or {}
    names = {"cpu", "memory", *aggregated, *(args.supported_resources or ())}
    for group in (args.usage_thresholds, args.prod_usage_thresholds, args.resource_weights, args.estimated_scaling_factors):
        names.update(group or ())
    return tuple(sorted(names))
