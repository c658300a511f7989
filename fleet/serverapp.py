"""The ServerApp: `fleet.serverapp:app`."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from mentee_device import BundleError, LearningError, RuntimeMissing

from fleet.server.run import run, save
from fleet.server.settings import FleetSettings
from fleet.wire.errors import FleetError
from mentor_mentee.errors import UserError

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the fleet, writes its result, and where a checkpoint is given makes it the next base bundle.

    A mistake is a FleetError of one line, which Flower keeps as the run's end (`flwr list`)."""
    try:
        settings = FleetSettings.read(context.run_config)
        result = run(grid, settings)
        save(result, settings)
        if settings.checkpoint:
            from fleet.release.release import release_run  # torch and onnx: only where a bundle is made

            release_run(result, settings)
    except (BundleError, LearningError, RuntimeMissing, UserError) as error:
        raise FleetError(str(error)) from None
