"""The round's result as a new base bundle, proved and signed: the server's networks, and the export."""
