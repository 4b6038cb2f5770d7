"""Kills engine, guard and group of real runs at random moments, and looks whether the promises hold.

Knows wfctl only from outside: its command, its journal, and the processes it leaves."""
