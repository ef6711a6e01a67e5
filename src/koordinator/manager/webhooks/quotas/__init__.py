"""ElasticQuotas on their way into the cluster: defaults, and the rules of the quota tree."""
