"""`atari_a2c.py`: actor-critic agents with five auxiliary tasks (OL-AUX)."""
