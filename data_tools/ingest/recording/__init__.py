"""Make recordings of a video and an input log by any program that writes timestamps.

log ─► adapter: columns, units, ranges ─► `InputLog` in our conventions ─► dead zone
  ─► the video's clock: offset and drift, given or measured ─► cut to the video ─► recording
"""
