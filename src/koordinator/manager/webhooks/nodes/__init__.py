"""What happens to nodes on their way into the cluster."""
