"""The mentee in memory: batches, the training session, the learner and its snapshots."""
