"""Tables: raw rows, their stores, and the changelog from which they are recovered."""
