"""The state that a service keeps in its tables: saga rows, effects, delayed requests and deadlines."""
