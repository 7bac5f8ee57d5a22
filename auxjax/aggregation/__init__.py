"""Jacobian -> gradient: how the rows become one update. One paper a file."""

from auxjax.aggregation._sum import sum_tasks

__all__ = ["sum_tasks"]
