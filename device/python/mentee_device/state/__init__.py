"""An owner's folder: one database, its versions and samples, and what keeps them whole."""
