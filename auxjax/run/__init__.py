"""What every long run needs: a command line, a folder, metrics, checkpoints, a bar.

It knows no algorithm. Orbax, rich, tyro and matplotlib are imported when first used.
"""

from auxjax.run._cache import use_compilation_cache
from auxjax.run._checkpoint import last_checkpoint, restore, save
from auxjax.run._cli import check_smoke, parse
from auxjax.run._conflict_plots import plot_conflicts
from auxjax.run._describe import machine
from auxjax.run._errors import NonFiniteLoss, RunError, plain_errors, reading, writing
from auxjax.run._folder import RunFolder, new_folder, open_run
from auxjax.run._json import write_json
from auxjax.run._loop import first_non_finite, run_chunks
from auxjax.run._metrics import MetricsWriter, read_metrics
from auxjax.run._plots import line_styles, plot_grid, plot_learning_curves, plot_weights
from auxjax.run._progress import Progress, short_number
from auxjax.run._table import (
    frames_to_reach,
    mean_and_std,
    mean_std,
    print_table,
    table_markdown,
)

__all__ = [
    "MetricsWriter",
    "NonFiniteLoss",
    "Progress",
    "RunError",
    "RunFolder",
    "check_smoke",
    "first_non_finite",
    "frames_to_reach",
    "last_checkpoint",
    "line_styles",
    "machine",
    "mean_and_std",
    "mean_std",
    "new_folder",
    "open_run",
    "parse",
    "plain_errors",
    "plot_conflicts",
    "plot_grid",
    "plot_learning_curves",
    "plot_weights",
    "print_table",
    "read_metrics",
    "reading",
    "restore",
    "run_chunks",
    "save",
    "short_number",
    "table_markdown",
    "use_compilation_cache",
    "write_json",
    "writing",
]
