"""Networks as settings name them: built for a data set, with what other packages need and what none of them may ask for."""
