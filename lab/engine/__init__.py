"""The one place with side effects on the machine: containers and the wires between them."""
