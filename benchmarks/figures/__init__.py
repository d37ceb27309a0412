"""The figures: each measures what its name says, and adds its lines to the report."""
