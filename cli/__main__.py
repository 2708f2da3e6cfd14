"""`python -m cli` is `batchsender`."""

import sys

from cli import main

sys.exit(main())
