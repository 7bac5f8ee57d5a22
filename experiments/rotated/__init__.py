"""`rotated_mnist.py`: a rotated copy of the task (GCS, Table 1)."""
