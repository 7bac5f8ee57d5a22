"""`class_pairs.py`: near and far pairs of classes (GCS, Figure 3)."""
