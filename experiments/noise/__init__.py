"""`noise_task.py`: is a useless task told from a helpful one? (Auto-λ, Figure 4)."""
