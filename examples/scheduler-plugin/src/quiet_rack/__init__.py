"""Noisy pods stay away from quiet racks; among the others they prefer the node that is least requested."""

import msgspec


class QuietRackArgs(msgspec.Struct, rename="camel"):
    quiet_racks: list[str] = []


class QuietRack:
    Args = QuietRackArgs

    def __init__(self, handle, args):
        self.quiet = set(args.quiet_racks)

    def filter_node(self, pod, node):
        noisy = (pod.metadata.labels or {}).get("noise") == "loud"
        if noisy and node.labels.get("rack") in self.quiet:
            return "node(s) were in a quiet rack"
        return None

    def score_node(self, pod, node):
        return 100 * node.free["cpu"] // max(node.allocatable["cpu"], 1)
