"""`celeba.py`: forty binary tasks on one image (Auto-λ, Figure 7)."""
