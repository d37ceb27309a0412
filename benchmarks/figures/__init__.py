"""The figures. Each module measures the figures that it is named after, and adds their lines to the report."""
