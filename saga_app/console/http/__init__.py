"""The console's HTTP interface: API, event stream, contracts, the page's files."""
