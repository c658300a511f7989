"""One training under a mentor: the LightningModule, its batches, its cached answers, resuming."""
