"""The ServerApp: `fleet.serverapp:app`."""

from logging import ERROR

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.supercore import log
from mentee_device import BundleError, LearningError, RuntimeMissing

from fleet.server.run import run, save
from fleet.server.settings import FleetSettings
from fleet.wire.errors import FleetError

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the fleet, writes its result, and where a checkpoint is given makes it the next base bundle."""
    try:
        settings = FleetSettings.read(context.run_config)
        result = run(grid, settings)
        save(result, settings)
    except (FleetError, BundleError, LearningError, RuntimeMissing) as error:
        log(ERROR, "error: %s", error)
        raise SystemExit(2) from None
    if settings.checkpoint:
        from fleet.release.release import release_run  # torch and onnx: only where a bundle is made

        release_run(result, settings)
