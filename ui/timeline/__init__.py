"""The Timeline view of the Video page: a clip in segments, each with what a model said about it."""
