"""The embedded cluster's controllers: what kube-controller-manager does for the kinds that the embedded cluster serves.

Each controller is a pure function from what is to what should change; ``driver`` reads, applies and retries.
"""
