"""What people see: tables, progress, stories. Views print; nothing else does."""
