"""The exercises: one file each, its texts beside it in English and Korean."""
