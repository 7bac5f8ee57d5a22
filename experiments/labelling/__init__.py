"""`rl_aux.py`: auxiliary labels that are generated (RL-AUX, MAXL)."""
