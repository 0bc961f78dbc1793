"""`h3d bench`: metrics, workloads, peers and the committed baseline."""
