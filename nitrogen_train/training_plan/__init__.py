"""Compute what a run would take on clusters of several sizes: memory, communication, time.

    config ─► cost (a policy on the meta device) ─► memory, communication ─► forecast ─► report

Nothing is trained and no process is started; `nitrogen-train … plan=true` prints the report.
"""
