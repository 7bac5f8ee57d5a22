"""`few_labels.py`: which helpers help where the main task has few labels?"""
