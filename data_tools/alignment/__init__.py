"""Measure whether a video and a log of inputs share a clock, from what both of them show.

    video ─► how the picture moves from frame to frame ─┐
    log ─► what was held in the same time, lag by lag ──┴► covariances of windows
      ─► the lag and the drift at which they agree best, against lags at which they cannot

A picture that answers its controls at once answers within the frame that they are held in: that is
lag 0, and what rows assume.
"""
