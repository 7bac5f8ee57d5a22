"""`dense_prediction.py`: segmentation, depth and normals (Auto-λ, Table 1)."""
