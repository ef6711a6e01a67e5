"""What of a node may be sold a second time: pure computations over plain numbers, for all nodes at once.

Nothing here reads a cluster. ``controllers.noderesource`` gathers the inputs and writes the results.
"""
