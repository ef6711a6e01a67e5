"""Why a pod is where it is, or is nowhere: asked of the engine when somebody wants to know, never on the way of a decision."""
