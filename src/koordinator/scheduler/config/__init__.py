"""KubeSchedulerConfiguration: its fields (``types``, ``args``), how it is read (``read``), what runs where (``multipoint``)."""
