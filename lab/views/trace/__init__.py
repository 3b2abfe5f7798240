"""A message's trace as a class reads it: a table, or a waterfall on an axis of lab time."""
