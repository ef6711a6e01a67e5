"""The ConfigMap ``slo-controller-config``: types, defaults, rules, and how its texts resolve to one node's strategies.

``resolve`` reads ``colocation-config``; ``nodeslo`` the keys that become NodeSLO objects.
"""

CONFIG_MAP_NAMESPACE = "koordinator-system"
CONFIG_MAP_NAME = "slo-controller-config"
