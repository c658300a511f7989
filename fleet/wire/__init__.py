"""All that crosses the wire: arrays by name, and the terms of a round."""
