"""Labels: the gain of supervision over the lone mentee, by number of labels."""
