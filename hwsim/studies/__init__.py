"""Studies of many chips: accuracy and yield against voltage, with intervals."""
