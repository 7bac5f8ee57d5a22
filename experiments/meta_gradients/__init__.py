"""`meta_gradients.py`: exact and approximate meta-gradients."""
