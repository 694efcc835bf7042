"""Import this before anything of Brax: it keeps messages about optional packages off the screen."""

import contextlib
import io
import warnings

warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
with contextlib.redirect_stdout(io.StringIO()):  # MuJoCo prints that the optional warp is missing
    import brax.envs  # noqa: F401
