"""The device's side of a fleet: a ClientApp around `Owner`, on mentee_device and flwr alone."""
