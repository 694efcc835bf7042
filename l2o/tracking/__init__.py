"""MLflow as a view of the result files.

The files of a job are the truth (see ``l2o.jobs.record``), and MLflow is filled from them: by
``sync`` after the job ended and, if the store is a server, by the job itself while it runs
(``live``). So an MLflow server that is away never stops a job, and the next ``sync`` completes what
is missing.
"""

from l2o.jobs.undelivered import failed_deliveries
from l2o.tracking.addresses import default_tracking_uri
from l2o.tracking.command import main_sync, main_ui
from l2o.tracking.delivery import SyncReport, sync
from l2o.tracking.experiment import EXPERIMENT
from l2o.tracking.store import RUN_KEY_TAG, run_url

__all__ = [
    "EXPERIMENT",
    "RUN_KEY_TAG",
    "SyncReport",
    "default_tracking_uri",
    "failed_deliveries",
    "main_sync",
    "main_ui",
    "run_url",
    "sync",
]
