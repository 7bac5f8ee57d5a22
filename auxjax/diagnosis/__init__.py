"""Do the tasks conflict? Measured over batches, and what follows from it.

| question | ask |
|---|---|
| Does a helper pull the main task's way, and beyond noise? | `diagnose`, once |
| The same while training | `monitor_tasks` in the chain, `diagnosis_of` its state |
| Whose step lowers whose loss, all pairs? | `task_affinity` |
| Which tasks belong into one network? | `group_tasks` |

`auxjax.run.plot_conflicts` draws a `Diagnosis`.
"""

from auxjax.diagnosis._affinity import task_affinity
from auxjax.diagnosis._diagnose import diagnose, diagnosis_of
from auxjax.diagnosis._grouping import Grouping, group_tasks
from auxjax.diagnosis._monitor import DiagnosisState, monitor_tasks
from auxjax.diagnosis._result import Diagnosis

__all__ = [
    "Diagnosis",
    "DiagnosisState",
    "Grouping",
    "diagnose",
    "diagnosis_of",
    "group_tasks",
    "monitor_tasks",
    "task_affinity",
]
