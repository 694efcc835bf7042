"""Import this before anything of Brax: it keeps messages about optional packages off the screen."""

import contextlib
import io
import warnings

warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
with contextlib.redirect_stdout(io.StringIO()):  # MuJoCo prints that the optional warp is missing
    import brax.envs  # noqa: F401
    import mujoco

# Else each warning is printed, and appended to MUJOCO_LOG.TXT in the working directory: that a
# model of Brax uses something old. What is simulated with MuJoCo's C code, nothing here, warns too.
mujoco.set_mju_user_warning(lambda message: warnings.warn(f"MuJoCo: {message}", stacklevel=2))
warnings.filterwarnings("ignore", message="MuJoCo: compiler attribute .* is deprecated")
