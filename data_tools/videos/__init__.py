"""Videos that labels belong to, from where they were published."""
