"""The clip of the video page: player, frames, controls."""
