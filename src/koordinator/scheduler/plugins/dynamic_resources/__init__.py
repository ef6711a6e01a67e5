"""DynamicResources: devices that pods claim (resource.k8s.io), allocated from the slices that drivers publish."""
