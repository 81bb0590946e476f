"""Reading controllers of any skin from videos."""
