"""The user's code and the ``Trial`` it sees: functions and commands, run and turned into outcomes."""
