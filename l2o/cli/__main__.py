"""``python -m l2o.cli``."""

import sys

from l2o.cli import main

sys.exit(main())
