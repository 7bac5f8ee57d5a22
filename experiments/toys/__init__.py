"""`toy_quadratics.py`: problems in the plane (OL-AUX, Figure 2; GCS, Figure 2)."""
