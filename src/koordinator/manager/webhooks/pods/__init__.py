"""What happens to a pod on its way into the cluster: mutation first, then validation. Plain data in, plain data out."""
