"""`compare_rules.py`: every rule on five tasks of real digits."""
