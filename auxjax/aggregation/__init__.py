"""Jacobian -> gradient: how the rows become one update. One paper a file."""

from auxjax.aggregation._accumulate import AccumulateState, accumulate_tasks
from auxjax.aggregation._sum import sum_tasks

__all__ = [
    "AccumulateState",
    "accumulate_tasks",
    "sum_tasks",
]
