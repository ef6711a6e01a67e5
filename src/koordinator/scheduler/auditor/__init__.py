"""How workloads fare in the scheduler: tries, preemptions, waits; as metrics and alerts."""
