"""`multi_domain.py`: many domains, one network (Auto-λ, Table 2)."""
