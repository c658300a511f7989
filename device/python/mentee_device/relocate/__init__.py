"""A state on its way: to a new base bundle, to another device, or together with another state."""
