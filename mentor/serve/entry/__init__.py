"""A request on its way in: its token, its size, its form, what it must name, and the page that says so."""
