"""The NUMA topology manager: one answer from what CPUs, memory and devices each want of a node's zones."""
