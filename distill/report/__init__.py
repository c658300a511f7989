"""Tables, pictures, a run's record, and the comparison of a sweep."""
